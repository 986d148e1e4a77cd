from __future__ import annotations

import pickle

import pytest

from engines.contract import errors
from engines.contract.errors import ToonifyError
from serving.studio.refusal import Refusal

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ToonifyError)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_comes_back_from_another_process_as_it_was(kind: type[ToonifyError]) -> None:
    error = kind("a picture", got="noise", expected="a face", remedy="look")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert (str(back), back.args, vars(back)) == (str(error), error.args, vars(error))


def test_an_error_with_more_to_say_keeps_it() -> None:
    assert pickle.loads(pickle.dumps(Refusal(413, "a", got="b", expected="c", remedy="d"))).status == 413
