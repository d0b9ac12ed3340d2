from dicomsvc import errors


def subclasses(kind: type[errors.DicomsvcError]) -> list[type[errors.DicomsvcError]]:
    return [kind, *(deeper for child in kind.__subclasses__() for deeper in subclasses(child))]


def test_every_error_has_statuses_and_stands_in_the_tree_of_the_docstring() -> None:
    assert errors.__doc__ is not None
    for kind in subclasses(errors.DicomsvcError):
        if kind.__module__ != errors.__name__:
            continue
        assert 400 <= kind.http_status < 600
        assert kind.__name__ in errors.__doc__
        if kind is not errors.DicomsvcError:
            line = next(line for line in errors.__doc__.splitlines() if f" {kind.__name__} " in line)
            assert f"0x{kind.dimse_status:04X}  {kind.http_status}" in line
