"""Statistics of tokens and the texts they belong to."""

from array import array
from dataclasses import replace

import pytest

from core.errors import StoreError
from core.state import RunState
from core.store.reader import Reader
from core.store.tokens import EvaluationText
from core.store.writer import Writer
from tests.core.store.recorded import EVENTS, UNSTORABLE, block_tokens, kept, new, store

TEXT = EvaluationText(["<unk>", "a", "\ufffd", "名"], array("i", [1, 2, 3, 0, 1]))


def test_statistics_of_tokens_are_kept_by_block_and_not_in_the_log(writer: Writer, reader: Reader) -> None:
    runs = writer.create_experiment([new(), new()])
    store(writer, runs[0], [*EVENTS[:-1], block_tokens(1, 3.5, last=True), block_tokens(0, 1.5), EVENTS[-1]])
    assert reader.token_statistics(runs[0]) == [block_tokens(0, 1.5), block_tokens(1, 3.5, last=True)]
    assert reader.token_statistics(runs[1]) == []
    assert reader.events(runs[0])[0] == kept(EVENTS)


def test_new_statistics_of_a_block_replace_the_earlier_ones(writer: Writer, reader: Reader) -> None:
    runs = writer.create_experiment([new(), new()])
    for run in runs:
        store(writer, run, [EVENTS[0], block_tokens(0, 1.5), block_tokens(1, 1.5)])
    writer.append(runs[0], [block_tokens(0, 4.5)], RunState("running"))
    assert reader.token_statistics(runs[0]) == [block_tokens(0, 4.5), block_tokens(1, 1.5)]
    assert reader.token_statistics(runs[1]) == [block_tokens(0, 1.5), block_tokens(1, 1.5)]


def test_statistics_are_stored_in_the_transaction_of_their_batch(writer: Writer, reader: Reader) -> None:
    (run,) = writer.create_experiment([new()])
    with pytest.raises(StoreError):
        writer.append(run, [block_tokens(0, 1.5), UNSTORABLE], RunState("running"))
    assert reader.token_statistics(run) == []


def test_a_text_is_read_as_it_was_written(writer: Writer, reader: Reader) -> None:
    writer.keep_text("abc", TEXT)
    text = reader.text("abc")
    assert text == TEXT
    assert (list(text.inputs), list(text.targets)) == ([1, 2, 3, 0], [2, 3, 0, 1])
    assert reader.text("other") is None


def test_the_longest_text_of_a_fingerprint_is_kept(writer: Writer, reader: Reader) -> None:
    shorter = replace(TEXT, stream=TEXT.stream[:3])
    longer = replace(TEXT, stream=TEXT.stream + array("i", [2, 2]))
    for text, expected in ((TEXT, TEXT), (shorter, TEXT), (longer, longer)):
        writer.keep_text("abc", text)
        assert reader.text("abc") == expected


def test_a_text_goes_with_the_last_run_on_it(writer: Writer, reader: Reader) -> None:
    writer.create_experiment([new(fingerprint="abc"), new(fingerprint="abc"), new(fingerprint="def"), new()])
    writer.keep_text("abc", TEXT)
    writer.keep_text("def", TEXT)
    writer.delete(1)
    assert reader.text("abc") == TEXT
    writer.delete(2)
    assert reader.text("abc") is None
    assert reader.text("def") == TEXT
