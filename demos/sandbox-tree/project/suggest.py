"""Suggests words for what somebody has begun to type."""


def suggest(index, start, limit):
    """The most frequent words that begin with `start`."""
    found = []
    for word in index:
        if word.startswith(start):
            found.append(word)
    return found[:limit]
