"""Damage to real content: bytes and words that are put in, cut out, repeated or copied."""

from hypothesis import strategies as st

PLACES = st.integers(0, 1 << 16)


def damaged(target):
    """Content that was a seed of a target before a few changes."""
    words = st.sampled_from(target.words) if target.words else st.just(b"\0")
    pieces = st.one_of(words, st.binary(min_size=1, max_size=8))
    changes = st.one_of(
        st.tuples(st.just("put"), PLACES, pieces),
        st.tuples(st.just("insert"), PLACES, pieces),
        st.tuples(st.just("replace a line"), PLACES, pieces),
        st.tuples(st.just("cut"), PLACES, st.integers(1, 60)),
        st.tuples(st.just("end"), PLACES, st.just(0)),
        st.tuples(st.just("repeat"), PLACES, st.integers(1, 60)),
        st.tuples(st.just("copy"), PLACES, PLACES),
        st.tuples(st.just("number"), PLACES, st.integers(-(2**65), 2**65)),
    )
    seeds = st.sampled_from(target.seeds())
    return st.builds(changed, seeds, st.lists(changes, min_size=1, max_size=6))


def changed(data, changes):
    data = bytearray(data)
    for change, place, argument in changes:
        at = place % (len(data) + 1)
        if change == "put":
            data[at : at + len(argument)] = argument
        elif change == "insert":
            data[at:at] = argument
        elif change == "replace a line":
            end = data.find(b"\n", at)
            data[at : end if end >= 0 else len(data)] = argument
        elif change == "cut":
            del data[at : at + argument]
        elif change == "end":
            del data[at:]
        elif change == "repeat":
            data[at:at] = data[at : at + argument] * 20
        elif change == "copy":
            data[at:at] = data[argument % (len(data) + 1) :][:20]
        else:
            put_number(data, at, argument)
    return bytes(data)


def put_number(data, at, number):
    """Replace the next number in decimal digits."""
    digits = b"0123456789"
    start = next((place for place in range(at, len(data)) if data[place] in digits), len(data))
    end = next((place for place in range(start, len(data)) if data[place] not in digits), len(data))
    data[start:end] = str(number).encode()
