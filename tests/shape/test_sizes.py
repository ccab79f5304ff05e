"""Small files, small functions, few parameters: the tail counts, not the middle."""

import ast
import statistics

PIPELINE = "aiservice/gateway/pipeline.py"
PIPELINE_MAIN = "answer"

METHODS = frozenset({"get", "post", "put", "patch", "delete"})
# What a hot door is made of: raw ASGI, so that there is no decorator to tell it by.
HOT_STEPS = frozenset({"__call__", "generation", "plain", "stream"})

# Generated files and tables of data may be longer than 600 lines; each is named here.
LONG_FILES: frozenset[str] = frozenset()


def test_files(house):
    lengths = [module.lines for module in house.modules if module.name not in LONG_FILES]

    assert statistics.median(lengths) <= 150
    assert house.p90(lengths) <= 400


def test_no_file_is_over_600_lines(house):
    modules = [*house.modules, *house.tests]

    assert [(m.name, m.lines) for m in modules if m.lines > 600 and m.name not in LONG_FILES] == []


def test_functions(house):
    lengths = [function.lines for function in house.functions()]

    assert statistics.median(lengths) <= 10
    assert house.p90(lengths) <= 35


def test_no_function_is_over_80_lines(house):
    assert [(f.where, f.lines) for f in house.functions() if f.lines > 80] == []


def test_at_most_six_parameters(house):
    assert [(f.where, f.parameters) for f in house.functions() if len(f.parameters) > 6] == []


def test_parameters_beyond_the_third_are_keyword_only(house):
    assert [(f.where, f.positional) for f in house.functions() if len(f.positional) > 3] == []


def test_every_signature_is_annotated(house):
    assert [f.where for f in house.functions() if f.node.returns is None and f.node.name != "__init__"] == []


def test_the_life_of_a_request_fits_on_a_screen(house):
    pipeline = next(module for module in house.modules if module.name == PIPELINE)
    main = [f for f in pipeline.functions() if f.node.name == PIPELINE_MAIN]

    assert len(main) == 1
    assert main[0].lines <= 60


def test_handlers_are_thin(house):
    doors = [module for module in house.modules if module.room == "api"]
    lengths = [function.body_lines for module in doors for function in module.functions() if _is_handler(function)]

    assert len(lengths) >= 15
    assert statistics.median(lengths) <= 12
    assert house.p90(lengths) <= 25


def _is_handler(function) -> bool:
    """A function that is decorated with a route, or what a hot door does to its request."""
    calls = [decorator.func for decorator in function.node.decorator_list if isinstance(decorator, ast.Call)]
    is_route = any(isinstance(call, ast.Attribute) and call.attr in METHODS for call in calls)
    return is_route or (function.is_method and function.node.name in HOT_STEPS)
