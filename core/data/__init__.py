"""Text into windows: corpora, tokenizers, and the token windows that a run trains and evaluates on."""
