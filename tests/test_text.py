"""Values as text: names, intervals, p-values."""

from medvit.text import escaped, few, interval, p_value


def test_many_names_are_counted_and_escaped():
    assert few([f"{i}.png" for i in range(1203)]) == "0.png, 1.png, 2.png and 1,200 more"
    assert few(["a\n", "b"]) == "a\\n, b"


def test_control_and_direction_characters_are_escaped():
    assert escaped("a\x1b[31m\u202egnp.exe\udcff\n") == r"a\x1b[31m\u202egnp.exe\udcff\n"


def test_a_long_name_is_shortened_in_the_middle():
    assert escaped("0123456789", 10) == "0123456789"
    assert escaped("0123456789A", 10) == "01234…789A"
    assert escaped("0123456789A", 7) == "012…89A"
    assert len(escaped("x" * 1000)) == 80


def test_an_interval_has_two_limits_or_none():
    assert interval((0.1234, 0.5)) == "12.3% to 50.0%"
    assert interval((0.1234, 0.5), ".3f") == "0.123 to 0.500"
    assert interval(None) == ""


def test_a_tiny_p_value_is_not_zero():
    assert (p_value(0.0004), p_value(0.001), p_value(0.25)) == ("< 0.001", "0.001", "0.250")
