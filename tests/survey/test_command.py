"""The command line of a survey."""

from click.testing import CliRunner

from normcheck.cli.survey import command
from normcheck.errors import UsageError
from normcheck.survey import catalogue


def test_the_list_names_every_library_and_what_is_installed() -> None:
    done = CliRunner().invoke(command, ["--list"])
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(catalogue.names())
    assert "torch 2." in lines[0]


def test_wrong_words_are_refused_before_anything_runs() -> None:
    for words, said in (
        (["--profile", "quik"], "profile is 'quik'"),
        (["--dtype", "int8"], "dtype is 'int8'"),
        (["--library", "flaxx"], "library is 'flaxx'"),
    ):
        done = CliRunner().invoke(command, words)
        assert isinstance(done.exception, UsageError)
        assert said in str(done.exception)
