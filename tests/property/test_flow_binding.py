# SPDX-License-Identifier: Apache-2.0
"""Do the arguments of any atom follow the rules of binding?"""

from hypothesis import given
from hypothesis import strategies as st

from taskflow import atom, retry, task

NAMES = "abcd"
symbols = st.sampled_from(["a", "b", "x", "y", "result"])


@st.composite
def parameters(draw, more=()):
    names = draw(st.permutations([*NAMES, *more]))[: draw(st.integers(0, 4))]
    with_default = draw(st.integers(0, len(names)))
    plain = list(names[: len(names) - with_default])
    return plain, list(names[len(plain) :]), draw(st.booleans())


def method(found, name, *always):
    plain, optional, open_ended = found
    text = ", ".join(["self", *always, *plain, *(f"{n}=None" for n in optional), *(["**kw"] if open_ended else [])])
    scope = {}
    exec(f"def {name}({text}): pass", scope)
    return scope[name]


rebinds = st.one_of(
    st.none(),
    st.lists(symbols, max_size=4, unique=True),
    st.lists(symbols, max_size=4, unique=True).map(tuple),
    st.dictionaries(st.sampled_from("abcdz"), symbols, max_size=3),
)
requirements = st.one_of(st.none(), symbols, st.lists(symbols, max_size=3, unique=True))


def model(found, requires, rebind, auto_extract, ignored, inject):
    """Gives (rebind, requires, optional) as lists, or the word that an error text starts with."""
    plain, optional, open_ended = found
    plain = [n for n in plain if n not in ignored]
    bound = [[n, n] for n in plain] if auto_extract else []

    def put(name, symbol):
        for pair in bound:
            if pair[0] == name:
                pair[1] = symbol
                return
        bound.append([name, symbol])

    for name in [requires] if isinstance(requires, str) else requires or []:
        put(name, name)
    if isinstance(rebind, dict):
        for name, symbol in rebind.items():
            put(name, symbol)
    else:
        for i, symbol in enumerate(rebind or ()):
            put(plain[i] if i < len(plain) else symbol, symbol)
    known = [name for name, _ in bound]
    free = [n for n in [*found[0], *optional] if n not in known and n not in ignored] if auto_extract else []
    if not open_ended and any(name not in found[0] + optional for name in known):
        return "Extra"
    if any(name not in known for name in plain):
        return "Missing"
    needed = [s for s in dict.fromkeys(symbol for _, symbol in bound) if s not in inject]
    return [tuple(pair) for pair in bound] + [(n, n) for n in free], needed, [n for n in free if n not in inject]


@given(
    parameters(("result",)),
    st.one_of(st.none(), parameters(("result", "flow_failures"))),
    requirements,
    rebinds,
    requirements,
    rebinds,
    st.booleans(),
    st.dictionaries(symbols, st.none(), max_size=2),
)
def test_tasks(execute, revert, requires, rebind, revert_requires, revert_rebind, auto_extract, inject):
    members = {"execute": method(execute, "execute")}
    if revert is not None:
        members["revert"] = method(revert, "revert")
    cls = type("Made", (task.Task,), members)
    forward = model(execute, requires, rebind, auto_extract, (), inject)
    backward = model(
        revert or ([], [], True),
        revert_requires or requires,
        revert_rebind or rebind,
        auto_extract,
        ("result", "flow_failures"),
        inject,
    )
    expected = forward if isinstance(forward, str) else backward

    for _ in range(2):  # the second time from what was remembered, if anything was
        try:
            made = cls(
                requires=requires,
                rebind=rebind,
                revert_requires=revert_requires,
                revert_rebind=revert_rebind,
                auto_extract=auto_extract,
                inject=inject,
            )
        except ValueError as error:
            begins_with = str(error).split()[0]
        else:
            begins_with = None
        assert begins_with == (expected if isinstance(expected, str) else None)
        if begins_with is not None:
            continue
        assert list(atom.arguments_of(made).items()) == list(made.rebind.items()) == forward[0]
        assert list(made.optional) == forward[2]
        assert list(atom.arguments_of(made, revert=True).items()) == list(made.revert_rebind.items()) == backward[0]
        assert list(made.revert_optional) == backward[2]
        assert list(made.requires) == list(dict.fromkeys([*forward[1], *backward[1]]))


@given(parameters(), requirements, rebinds, st.booleans())
def test_retries(execute, requires, rebind, auto_extract):
    members = {"execute": method(execute, "execute", "history"), "on_failure": method(([], [], True), "on_failure")}
    cls = type("Made", (retry.Retry,), members)
    plain, optional, open_ended = execute
    forward = model((["history", *plain], optional, open_ended), requires, rebind, auto_extract, ("history",), ())

    try:
        made = cls(requires=requires, rebind=rebind, auto_extract=auto_extract)
    except ValueError as error:
        begins_with = str(error).split()[0]
    else:
        begins_with = None
    assert begins_with == (forward if isinstance(forward, str) else None)
    if begins_with is not None:
        return
    assert list(made.rebind.items()) == forward[0]
    assert list(made.optional) == forward[2]


@given(st.one_of(st.text(max_size=2), st.lists(st.text(max_size=1)), st.frozensets(st.text(max_size=1))))
def test_every_provided_symbol_has_its_place(provides):
    class Made(task.Task):
        def execute(self):
            pass

    made = Made(provides=provides)

    assert list(made.provides) == list(made.save_as) == list(atom.outputs_of(made))
    if isinstance(provides, str):
        assert made.save_as == {provides: None}
    elif isinstance(provides, list):
        assert all(provides[position] == symbol for symbol, position in made.save_as.items())
        assert set(made.save_as) == set(provides)
    else:
        assert made.save_as == {symbol: symbol for symbol in provides}
