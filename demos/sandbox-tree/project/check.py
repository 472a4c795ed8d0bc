"""The tests of the suggestions, by asking a server: loads suggest.py there again, then prints a line for each test.

check.py URL      "ok NAME", or "failed NAME: WHY"; the exit code is 1 if one failed
"""

import http.client
import json
import sys
from pathlib import Path
from urllib.parse import urlencode, urlsplit

SERVER = urlsplit(sys.argv[1]).netloc
START, LIMIT, MOST = "na", 8, 4000


def ask(path, **given):
    connection = http.client.HTTPConnection(SERVER, timeout=300)
    try:
        connection.request("GET", f"/{path}?{urlencode(given)}")
        answer = connection.getresponse()
        said = json.load(answer)
    except (OSError, http.client.HTTPException) as error:
        raise AssertionError(f"the server does not answer: {error}") from None
    finally:
        connection.close()
    assert answer.status == 200, said["error"]
    return said


def suggested(start=START, limit=LIMIT):
    return ask("suggest", start=start, limit=limit)["words"]


def same(got, expected):
    assert got == expected, f"got {got}, expected {expected}"


def loads():
    """the server loads it"""
    ask("reload")


def begins():
    """begin as typed"""
    words = suggested()
    same([word for word in words if word.startswith(START)], words)
    assert words, "got none"


def frequent():
    """most frequent first"""
    counts = ask("words", start=START)
    most = sorted(counts.values(), reverse=True)[:LIMIT]
    same([counts.get(word) for word in suggested()], most)


def ties():
    """ties by the alphabet"""
    counts = ask("words", start=START)
    rare = [sorted(word for word in counts if counts[word] == count) for count in set(counts.values())]
    tied = max(rare, key=len)
    same([word for word in suggested(limit=len(counts)) if word in tied], tied)


def limit():
    """as many as asked for"""
    same(len(suggested(limit=3)), 3)


def capitals():
    """capitals"""
    same(suggested(START.title()), suggested())
    assert suggested(), "got none"


def empty():
    """nothing typed"""
    same(suggested(""), [])


def quick():
    """looks at few words"""
    looked = ask("suggest", start="nag", limit=LIMIT)["looked"]
    assert looked < MOST, f"looked at {looked:,} words, expected fewer than {MOST:,}"


def text():
    """the text is there"""
    assert Path("text.txt").exists(), "text.txt is gone"


failed = 0
for test in (loads, begins, frequent, ties, limit, capitals, empty, quick, text):
    try:
        test()
        print("ok", test.__doc__, flush=True)
    except AssertionError as error:
        failed += 1
        print(f"failed {test.__doc__}: {error}", flush=True)
sys.exit(failed > 0)
