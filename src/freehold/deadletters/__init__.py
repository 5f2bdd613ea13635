"""Dead letters: what could not be handled or sent, kept to be understood, edited, replayed or dropped."""
