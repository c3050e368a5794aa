"""How much of the logits the head holds at once."""

from core.head.chunks import CPU, SMALL_CPU, SMALL_VOCABULARY, chunking


def test_a_small_vocabulary_s_larger_chunks_take_little_memory() -> None:
    assert SMALL_CPU.tokens > CPU.tokens
    assert 4 * SMALL_VOCABULARY * SMALL_CPU.tokens <= 16 * 2**20


def test_a_large_vocabulary_and_other_devices_have_chunks_of_their_own() -> None:
    assert chunking(on_cpu=True, vocab_size=SMALL_VOCABULARY) != CPU
    assert chunking(on_cpu=True, vocab_size=SMALL_VOCABULARY + 1) == CPU
    assert chunking(on_cpu=False, vocab_size=100) == chunking(on_cpu=False, vocab_size=100_000)
