import numpy as np
import pytest

from shared.embedded.engine.readers import text_numbers as numbers
from shared.embedded.engine.readers.text_numbers import NotANumber


def _text(raw: bytes) -> numbers.Text:
    return np.frombuffer(raw, np.uint8)


def _floats(raw: bytes) -> list[float]:
    text = _text(raw)
    return list(map(float, numbers.floats(text, *numbers.words(text))))


_PLAIN = ["1", "-1", "+1.5", ".5", "5.", "-0.000001", "99999999.99999999", "3.141592653589793"]
_LONG = ["0.12345678901234567", "123456789012345678", "1234567890123456789012"]


@pytest.mark.parametrize("word", [*_PLAIN, *_LONG, "1e-3", "-2.5E+10", "1e400", "-1e-400"])
def test_a_number_is_the_one_that_python_reads(word: str) -> None:
    assert _floats(f"0.25 {word} 7\n".encode()) == [0.25, float(word), 7]


def test_numbers_with_as_many_decimals_are_exact_to_the_last_bit() -> None:
    values = np.random.default_rng(1).uniform(-1000, 1000, 5000).round(6)
    text = " ".join(f"{value:.6f}" for value in values) + "\n"
    assert _floats(text.encode()) == values.tolist()


def test_words_are_counted_by_line_whether_lines_are_alike_or_not() -> None:
    for raw, counts in ((b"1 2\n3 4\n", [2, 2]), (b"1\n2 3 4\n", [1, 3]), (b"\n1 2 3 4\n", [0, 4])):
        text = _text(raw)
        assert numbers.per_line(text, numbers.words(text)[0]).tolist() == counts


def test_what_is_no_number_is_named_with_its_line() -> None:
    with pytest.raises(NotANumber) as found:
        _floats(b"1 2\n3 4,5\n")
    assert (found.value.line, found.value.word) == (1, "4,5")
    for word in ("1.2.3", "--1", "."):
        with pytest.raises(NotANumber) as found:
            _floats(f"0 1 {word}\n".encode())
        assert found.value.word == word


def test_what_microsofts_library_prints_for_no_number_is_none() -> None:
    assert np.isnan(_floats(b"1.#QNAN -1.#IND nan -nan(ind)\n")).all()


def test_integers_are_whole_and_never_wrap_around() -> None:
    text = _text(b"1 -2 99999999999999999999\n")
    assert numbers.integers(text, 3).tolist() == [1, -2, 2**63 - 1]
    with pytest.raises(NotANumber) as found:
        numbers.integers(_text(b"1 2\n3 4.5\n"), 4)
    assert (found.value.line, found.value.word) == (1, "4.5")
