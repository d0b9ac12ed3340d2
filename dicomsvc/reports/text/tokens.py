"""Tokens of a report's text, in time linear in its length whatever the text.

spaCy's own rules look again and again through a long stretch without blanks, and their fine cuts are of no use here.
"""

import re

from spacy.tokens import Doc
from spacy.vocab import Vocab

_TOKEN = re.compile(r"[^\W\d_\u3400-\u9fff]{1,60}|\d{1,30}|\S|\s")


class ReportTokenizer:
    """Cuts a text into words, numbers, Chinese characters and marks; all of the text is in the tokens."""

    def __init__(self, vocab: Vocab) -> None:
        self.vocab = vocab

    def __call__(self, text: str) -> Doc:
        words: list[str] = []
        spaces: list[bool] = []
        for piece in _TOKEN.findall(text):
            if piece == " " and spaces and not spaces[-1]:
                spaces[-1] = True
            else:
                words.append(piece)
                spaces.append(False)
        return Doc(self.vocab, words=words, spaces=spaces)
