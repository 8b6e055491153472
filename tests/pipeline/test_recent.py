from pipeline.recent import Recent


def kept(recent, keys):
    return [key for key in keys if recent.get(key) is not None]


def test_what_was_used_last_is_kept():
    recent = Recent(30)
    for key in "abc":
        recent.put(key, key.upper(), 10)
    assert recent.get("a") == "A"
    recent.put("d", "D", 10)
    assert kept(recent, "abcd") == ["a", "c", "d"]
    recent.put("e", "E", 15)
    assert kept(recent, "acde") == ["d", "e"]


def test_one_that_is_larger_than_the_bound_is_kept_alone():
    recent = Recent(30)
    recent.put("a", "A", 10)
    recent.put("b", "B", 100)
    assert kept(recent, "ab") == ["b"]
    recent.put("c", "C", 30)
    assert kept(recent, "bc") == ["c"]
