"""The kinds of extension: where the built-in ones live, and what one must offer."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

CORE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Kind:
    """One kind of extension.

    Attributes:
        noun: what messages call one.
        folder: of the built-in ones; every file without a leading underscore is one.
        group: entry-point group in which an installed package offers its own.
        attribute: module-level name of the object that a file offers.
        guide: documentation page that says how to write one.
    """

    noun: str
    folder: Path
    group: str
    attribute: str
    guide: str

    @cached_property
    def built_in(self) -> tuple[str, ...]:
        """Names of the built-in ones, in alphabetical order, listed without importing them."""
        return tuple(sorted(path.stem for path in self.folder.glob("*.py") if not path.stem.startswith("_")))

    def declared(self, name: str) -> Mapping[str, Any]:
        """Class attributes that a built-in one declares as literals, its bases' included, read without importing it.

        Args:
            name: one of `built_in`.
        """
        tree, contract = (ast.parse((self.folder / f"{file}.py").read_bytes()) for file in (name, "_contract"))
        classes = {node.name: node for node in (*contract.body, *tree.body) if isinstance(node, ast.ClassDef)}
        return dict(_literals(_class_of(tree, self.attribute), classes))

    @cache  # noqa: B019  # there are two kinds, for as long as the process
    def is_declared(self, name: str, flag: str) -> bool:
        """Whether a flag is true of a built-in one; false of any other."""
        return name in self.built_in and bool(self.declared(name)[flag])

    def said(self, attribute: str) -> tuple[str, ...]:
        """Return one declared attribute of each built-in one, in their order."""
        return tuple(str(self.declared(name)[attribute]) for name in self.built_in)


EXIT_METHODS = Kind("exit method", CORE / "exits", "eetui.exits", "EXIT", "docs/exits.md")
CORPUS_READERS = Kind("corpus reader", CORE / "data" / "readers", "eetui.corpora", "READER", "docs/corpora.md")


def _class_of(tree: ast.Module, attribute: str) -> str:
    """Name of the class in `ATTRIBUTE = Class()`."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=ast.Name(id=class_name))):
                if name == attribute:
                    return class_name
    raise AssertionError(f"a built-in file ends with {attribute} = Class()")


def _literals(name: str, classes: Mapping[str, ast.ClassDef]) -> Iterator[tuple[str, Any]]:
    """Attributes and literal values of a class, those of its bases first."""
    if name not in classes:
        return
    for base in reversed(classes[name].bases):
        yield from _literals(base.id, classes) if isinstance(base, ast.Name) else ()
    for node in classes[name].body:
        match node:
            case ast.Assign(targets=[ast.Name(id=attribute)], value=ast.Constant(value=value)):
                yield attribute, value
            case ast.AnnAssign(target=ast.Name(id=attribute), value=ast.Constant(value=value)):
                yield attribute, value
