import pytest
from multidict import CIMultiDict

from taskd.http.access import check_host, check_write
from taskd.http.problems import Problem

ALLOWED = ("Taskd.example",)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8470",
        "127.9.9.9",
        "localhost:8470",
        "LOCALHOST",
        "[::1]:8470",
        "[::1]",
        "taskd.example:80",
    ],
)
def test_this_machine_and_allowed_names_are_served(host: str) -> None:
    check_host(host, ALLOWED)


@pytest.mark.parametrize(
    "host",
    [
        None, "", "evil.example", "evil.example:8470", "localhost.evil.example", "127.0.0.1.evil.example",
        "evil.example@127.0.0.1.nip.io", "0.0.0.0", "192.168.0.7", "[::1", "taskd.example.evil.example", "2130706433",
    ],
)  # fmt: skip
def test_other_names_are_not_served(host: str | None) -> None:
    with pytest.raises(Problem) as refused:
        check_host(host, ALLOWED)
    assert refused.value.status == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "Application/JSON; charset=utf-8"},
        {
            "Content-Type": "application/json",
            "Origin": "http://127.0.0.1:8470",
            "Sec-Fetch-Site": "same-origin",
        },
        {
            "Content-Type": "application/json",
            "Origin": "https://taskd.example",
            "Sec-Fetch-Site": "same-origin",
        },
        {"Content-Type": "application/json", "Sec-Fetch-Site": "none"},
    ],
)
def test_writes_of_programs_and_of_our_own_pages_pass(headers: dict[str, str]) -> None:
    check_write(CIMultiDict({"Host": "127.0.0.1:8470", **headers}), ALLOWED, empty=False)


@pytest.mark.parametrize("given", [{}, {"Content-Type": "application/octet-stream"}])
def test_a_write_without_a_body_needs_no_type(given: dict[str, str]) -> None:
    check_write(CIMultiDict({"Host": "127.0.0.1:8470", **given}), (), empty=True)


@pytest.mark.parametrize(
    ("headers", "empty", "status"),
    [
        ({"Content-Type": "application/json", "Origin": "https://evil.example"}, False, 403),
        ({"Content-Type": "application/json", "Origin": "http://127.0.0.1:3000"}, False, 403),
        ({"Content-Type": "application/json", "Origin": "https://taskd.example.evil.example"}, False, 403),
        ({"Content-Type": "application/json", "Origin": "null"}, False, 403),
        ({"Content-Type": "application/json", "Origin": ""}, False, 403),
        ({"Origin": "https://evil.example"}, True, 403),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}, False, 403),
        ({"Sec-Fetch-Site": "same-site"}, True, 403),
        ({}, False, 415),
        ({"Content-Type": "text/plain"}, False, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, True, 415),
        ({"Content-Type": "multipart/form-data; boundary=application/json"}, False, 415),
        ({"Content-Type": "application/jsonp"}, False, 415),
    ],
)
def test_a_write_that_a_foreign_page_may_be_behind_is_refused(
    headers: dict[str, str], empty: bool, status: int
) -> None:
    with pytest.raises(Problem) as refused:
        check_write(CIMultiDict({"Host": "127.0.0.1:8470", **headers}), ALLOWED, empty=empty)
    assert refused.value.status == status
