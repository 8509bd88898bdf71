"""What the browser keeps the page from, should text of others ever get into it; and that tests would notice."""

import pytest


def test_a_picture_from_elsewhere_is_not_fetched_and_noticed(visit, grace):
    visitor = visit(grace).go("models")
    visitor.page.evaluate("document.body.append(Object.assign(new Image(), { src: 'http://127.0.0.1:9/spy.png' }))")
    visitor.wait_for_problem("Content Security Policy")


@pytest.mark.parametrize(
    "attack",
    [
        "document.body.innerHTML = '<img src=x onerror=alert(1)>'",
        "document.body.insertAdjacentHTML('beforeend', '<b>text of others</b>')",
        "new DOMParser().parseFromString('<b>x</b>', 'text/html')",
        "Object.assign(document.createElement('script'), { text: 'window.attacked = 1' })",
    ],
)
def test_text_never_becomes_markup(visit, grace, attack):
    visitor = visit(grace).go("models")
    tried = f"(() => {{ try {{ {attack}; return 'nothing'; }} catch (error) {{ return error.name; }} }})()"
    thrown = visitor.page.evaluate(tried)
    assert thrown == "TypeError"
    visitor.wait_for_problem("TrustedHTML", "TrustedScript")


def test_inline_styles_do_nothing(visit, grace):
    visitor = visit(grace).go("models")
    visitor.page.evaluate("document.body.setAttribute('style', 'background: red')")
    assert visitor.page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 0, 0)"
    visitor.wait_for_problem("style")
