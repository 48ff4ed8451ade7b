"""The hooks as their specifications have them, as text."""

import ast
import inspect
import textwrap

from noctule.hooks import specs
from noctule.hooks.table import HOOK_NAMES


def signature_of(hook: str) -> str:
    """``async def authenticate(client: Client, credentials: Credentials) -> Verdict | None``"""
    source = textwrap.dedent(inspect.getsource(getattr(specs, hook)))
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    kind = "async def" if isinstance(function, ast.AsyncFunctionDef) else "def"
    arguments = ", ".join(f"{one.arg}: {_text(one.annotation)}" for one in function.args.args)
    return f"{kind} {hook}({arguments}) -> {_text(function.returns)}"


def _text(annotation: ast.expr | None) -> str:
    """An annotation without the quotes that it needs in the source."""
    assert annotation is not None
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value
    text = ast.unparse(annotation)
    for quoted in [
        node for node in ast.walk(annotation) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]:
        text = text.replace(repr(quoted.value), quoted.value)
    return text


SIGNATURES = {hook: signature_of(hook) for hook in HOOK_NAMES}
