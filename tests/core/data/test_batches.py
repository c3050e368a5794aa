"""Batches of windows."""

import pytest

from core.config.run_config import Layer, build
from core.data.batches import READ_TOKENS, in_order


@pytest.mark.parametrize(
    ("batch_size", "seq_len", "read"),
    [(1, 32, READ_TOKENS // 32), (64, 32, READ_TOKENS // 32), (1000, 32, 1000), (2, READ_TOKENS, 2)],
)
def test_what_learns_nothing_reads_enough_tokens_at_a_time(batch_size: int, seq_len: int, read: int) -> None:
    values = {"batch_size": batch_size, "seq_len": seq_len, "max_seq_len": READ_TOKENS}
    batches = list(in_order(2 * read + 1, build([Layer("test", values)])))
    assert [range(2 * read + 1)[batch] for batch in batches] == [
        range(read), range(read, 2 * read), range(2 * read, 2 * read + 1)
    ]  # fmt: skip
