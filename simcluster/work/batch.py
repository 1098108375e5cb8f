"""The batch of a step, reduced to the few sums that its work depends on."""

from __future__ import annotations

from typing import NamedTuple


class Batch(NamedTuple):
    """
    Sums over one step's requests, in which the work of every op is linear.

    A decode token attends to its whole context, itself included; a prefill chunk of c tokens behind b cached ones
    makes c·b + c(c+1)/2 query–key pairs (causal) and reads b + c cached entries once.
    """

    decode_tokens: int = 0
    decode_context: int = 0
    """Sum over the decode tokens of the entries each attends to."""
    prefill_tokens: int = 0
    prefill_pairs: int = 0
    prefill_context: int = 0
    """Sum over the chunks of the cached entries read, those of the chunk included."""
    outputs: int = 0
    """Tokens whose logits are computed: every decode token, and the last token of each finished prompt."""
    sequences: int = 0
    """Requests in the step."""

    @property
    def tokens(self) -> int:
        """Number of all tokens of the step."""
        return self.decode_tokens + self.prefill_tokens

    def without_contexts(self) -> Batch:
        """Keep the numbers of tokens, outputs and requests, on which all ops but attention depend."""
        return Batch(self.decode_tokens, 0, self.prefill_tokens, 0, 0, self.outputs, self.sequences)

    def decode_only(self) -> Batch:
        """Drop the prefill chunks of the step."""
        n_tokens = self.decode_tokens
        return Batch(n_tokens, self.decode_context, 0, 0, 0, n_tokens, n_tokens)
