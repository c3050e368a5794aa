"""What a node has installed, in words that name both sides."""

import pytest

from core.errors import UsageError
from core.sweeps.remote import node


def test_a_node_with_another_version_is_refused_naming_both() -> None:
    cluster = pytest.importorskip("core.sweeps.remote.ray_cluster", exc_type=ImportError)
    here = node.installed()
    cluster.require_same(here, "node 1")
    for change in ({"eetui": "9.9"}, {"torch": "1.0"}, {"code": "0badc0de"}, {"eetui": ""}, {"torch": ""}):
        there = here | change
        with pytest.raises(UsageError) as refused:
            cluster.require_same(there, "node 10.0.0.2 (b)")
        assert f"node 10.0.0.2 (b) has {node.named(there)}, and this machine {node.named(here)}" in str(refused.value)
