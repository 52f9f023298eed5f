"""TLS, mutual TLS and tokens on the command line: each command through a real nginx that requires them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edges import TOKEN, Certificates, edge
from support import run, with_more_time


@pytest.fixture(scope="module")
def secrets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("secrets")
    Certificates(folder)
    (folder / "tokens.map").write_text(f'"Bearer {TOKEN}" me;\n')
    (folder / "headers").write_text(f"Authorization: Bearer {TOKEN}\n\nX-Request-Source: nightly\n")
    return folder


@pytest.fixture(scope="module")
def guarded(secrets, server, tmp_path_factory) -> Iterator[str]:
    """host:port of an edge that requires a token and a client certificate."""
    rest = server.rest.removeprefix("http://")
    with edge(tmp_path_factory.mktemp("edge") / "nginx", secrets, [rest], [server.grpc], tls="mutual") as running:
        yield f"127.0.0.1:{running.port}"


@pytest.fixture
def flags(secrets) -> list[str]:
    named = {"ca": "ca.crt", "cert": "client.crt", "key": "client.key"}
    return [f"--{flag}={secrets / file}" for flag, file in named.items()] + [f"--header=@{secrets / 'headers'}"]


@pytest.fixture
def array(images, tmp_path) -> str:
    np.save(tmp_path / "images.npy", images[:70])
    return str(tmp_path / "images.npy")


@pytest.mark.parametrize("scheme", ["", "grpcs://", "https://"])
def test_classify_passes_a_guarded_edge(guarded, flags, array, server, scheme):
    expected = run("classify", array, "--target", server.grpc).stdout
    done = run("classify", array, "--target", scheme + guarded, *flags)
    assert (done.returncode, done.stdout) == (0, expected), done.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["status"], "1  AVAILABLE"),
        (["wait"], "fashion version 1 is ready"),
        (["labels"], "Ankle boot"),
    ],
    ids=lambda message: message[0] if isinstance(message, list) else "",
)
def test_every_other_command_passes_it_too(guarded, flags, command, message):
    done = run(*command, "--target", guarded, *flags)
    assert done.returncode == 0, done.stderr
    assert message in done.stdout


def test_bench_passes_it_too(guarded, flags):
    def measured(duration: float) -> bool:
        """Whether an answer came in this time."""
        done = run("bench", f"--duration={duration}", "--warm-up=0", "--concurrency=2", "--target", guarded, *flags)
        assert "none" in done.stdout, done.stderr
        return done.returncode == 0

    with_more_time(measured, 0.2)


def test_compare_shows_both_servers_the_same(guarded, flags, array):
    targets = ["--target", f"grpcs://{guarded}", "--target", f"https://{guarded}"]
    done = run("compare", array, *targets, *flags, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["agreement"] == 1


def test_compare_names_servers_without_their_passwords(server, array):
    named = server.rest.replace("//", "//me:s3cret@")
    for form in ((), ("--json",)):
        done = run("compare", array, "--target", named, "--target", server.grpc, *form)
        assert done.returncode == 0, done.stderr
        assert server.rest in done.stdout
        assert "s3cret" not in done.stdout


def test_a_header_on_the_command_line_itself(guarded, flags):
    done = run("status", "--target", guarded, *flags[:-1], "--header", f"authorization: Bearer {TOKEN}")
    assert done.returncode == 0, done.stderr


def test_what_the_edge_requires_and_the_call_lacks_is_named(guarded, flags, secrets):
    for given, message in {
        tuple(flags[:-1]): "token",
        (flags[0], flags[-1]): "requires a client certificate",
        ("--tls", flags[-1]): "CERTIFICATE_VERIFY_FAILED",
    }.items():
        done = run("labels", "--target", guarded, *given)
        assert done.returncode == 1, given
        assert message.lower() in done.stderr.lower()
        assert len(done.stderr.splitlines()) == 1
        assert TOKEN not in done.stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--cert={s}/client.crt"], "mutual TLS needs both a certificate and its key, but only one was given"),
        (["--ca={s}/none.crt"], "cannot read {s}/none.crt: No such file or directory"),
        (["--ca={s}/headers"], "{s}/headers holds no certificate"),
        (["--cert={s}/client.crt", "--key={s}/tls.key"], "client.crt and {s}/tls.key are no certificate and its key"),
        (["--tls", "--target=http://127.0.0.1:1"], "http://127.0.0.1:1 is not encrypted: tls needs https://"),
        (["--header=s3cret"], "--header is neither 'NAME: VALUE' nor @FILE with such lines"),
        (["--header=@{s}/tls.key"], "line 1 of {s}/tls.key is neither 'NAME: VALUE'"),
        (["--header=@{s}/none"], "cannot read the headers in {s}/none: No such file or directory"),
        (["--header=a: s3cret", "--header=A: s3cret"], "--header repeats the header A"),
        (["--header=a b: s3cret"], "header 'a b' cannot be sent"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_right_is_one_sentence_that_shows_no_value(secrets, given, message):
    arguments = [part.format(s=secrets) for part in given]
    target = [] if any("--target" in part for part in given) else ["--target=127.0.0.1:1"]
    done = run("labels", *arguments, *target)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert message.format(s=secrets) in done.stderr
    assert "s3cret" not in done.stderr
