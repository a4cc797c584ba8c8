# SPDX-License-Identifier: Apache-2.0
"""What log books, flow details and atom details do with what is put into them."""

import datetime as dt

import pytest

from taskflow import exceptions as exc
from taskflow import states
from taskflow.persistence import models
from taskflow.types import failure as ft


def make_failure(text="boom"):
    try:
        raise ValueError(text)
    except ValueError:
        return ft.Failure()


def make_task(name="t", uuid="T"):
    return models.TaskDetail(name, uuid)


def make_retry(name="r", uuid="R"):
    return models.RetryDetail(name, uuid)


# -- types


def test_atom_types_are_listed_in_the_order_of_the_database_enumeration():
    assert models.ATOM_TYPES == ["RETRY_DETAIL", "TASK_DETAIL"]


@pytest.mark.parametrize(("name", "cls"), [("TASK_DETAIL", models.TaskDetail), ("RETRY_DETAIL", models.RetryDetail)])
def test_type_and_class_of_atom_details_belong_together(name, cls):
    assert models.atom_detail_class(name) is cls
    assert models.atom_detail_type(cls("a", "A")) == name


@pytest.mark.parametrize("name", ["FLOW_DETAIL", None, []])
def test_unknown_atom_type_is_refused(name):
    with pytest.raises(TypeError, match="^Unknown atom"):
        models.atom_detail_class(name)


def test_type_of_a_subclass_is_refused():
    class Special(models.TaskDetail):
        pass

    with pytest.raises(TypeError):
        models.atom_detail_type(Special("a", "A"))


def test_atom_detail_itself_can_not_be_made():
    with pytest.raises(TypeError):
        models.AtomDetail("a", "A")


def test_atom_detail_of_another_kind_needs_only_the_four_abstract_methods():
    class Other(models.AtomDetail):
        def merge(self, other, deep_copy=False):
            return super().merge(other, deep_copy=deep_copy)

        def put(self, state, result):
            changed = (self.state, self.results) != (state, result)
            self.state, self.results = state, result
            return changed

        def reset(self, state):
            self.state = state

        def copy(self):
            return super().copy()

    detail = Other("a", "A")
    assert detail.outcome("SUCCESS", 3) == {"state": "SUCCESS", "results": 3}
    assert detail.state is None
    detail.put("SUCCESS", 3)
    assert detail.outcome("SUCCESS", 3) == {}


# -- log books


def test_new_book_has_a_random_uuid_and_its_time():
    before = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    book, other = models.LogBook("b"), models.LogBook("b", "")
    after = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    assert book.name == "b"
    assert len(book.uuid) == 36
    assert book.uuid != other.uuid
    assert before <= book.created_at <= after
    assert book.created_at.tzinfo is None
    assert book.updated_at is None
    assert book.meta == {}
    assert len(book) == 0


@pytest.mark.parametrize("make", [models.LogBook, models.FlowDetail, models.TaskDetail, models.RetryDetail])
def test_name_and_uuid_can_not_be_assigned(make):
    detail = make("n", "U")
    assert (detail.name, detail.uuid) == ("n", "U")
    with pytest.raises(AttributeError):
        detail.name = "x"
    with pytest.raises(AttributeError):
        detail.uuid = "x"


def test_book_adds_replaces_and_finds_flow_details():
    book = models.LogBook("b")
    first, second, again = (models.FlowDetail(n, u) for n, u in (("f", "1"), ("g", "2"), ("h", "1")))
    book.add(first)
    assert book.updated_at is not None
    assert book.updated_at.tzinfo is None
    book.add(second)
    book.add(again)
    assert list(book) == [again, second]
    assert len(book) == 2
    assert book.find("1") is again
    assert book.find("3") is None


def test_merging_a_book_with_itself_changes_nothing():
    book = models.LogBook("b")
    meta = book.meta
    assert book.merge(book) is book
    assert book.meta is meta


@pytest.mark.parametrize("deep_copy", [False, True])
def test_merging_books_takes_metadata_and_times_only(deep_copy):
    one, other = models.LogBook("one"), models.LogBook("other")
    other.add(models.FlowDetail("f", "F"))
    other.meta = {"a": [1]}
    assert one.merge(other, deep_copy=deep_copy) is one
    assert one.meta == {"a": [1]}
    assert (one.meta is other.meta) is not deep_copy
    assert one.created_at == other.created_at
    assert one.updated_at == other.updated_at
    assert one.name == "one"
    assert one.uuid != other.uuid
    assert len(one) == 0


@pytest.mark.parametrize("retain", [True, False])
def test_copy_of_a_book_has_its_own_container_and_metadata(retain):
    class Special(models.LogBook):
        pass

    book = Special("b")
    book.extra = 5
    flow_detail = models.FlowDetail("f", "F")
    book.add(flow_detail)
    copy = book.copy(retain_contents=retain)
    assert type(copy) is Special
    assert copy.extra == 5
    assert (copy.uuid, copy.name, copy.created_at, copy.updated_at) == (
        book.uuid,
        book.name,
        book.created_at,
        book.updated_at,
    )
    assert list(copy) == ([flow_detail] if retain else [])
    copy.meta["x"] = 1
    copy.add(models.FlowDetail("g", "G"))
    assert book.meta == {}
    assert len(book) == 1


# -- flow details


def test_new_flow_detail():
    flow_detail = models.FlowDetail("f", "F")
    assert (flow_detail.state, flow_detail.meta, len(flow_detail)) == (None, {}, 0)
    with pytest.raises(TypeError):
        models.FlowDetail("f")


def test_flow_detail_adds_replaces_and_finds_atom_details():
    flow_detail = models.FlowDetail("f", "F")
    first, second, again = make_task("a", "1"), make_retry("b", "2"), make_task("c", "1")
    for detail in (first, second, again):
        flow_detail.add(detail)
    assert list(flow_detail) == [again, second]
    assert len(flow_detail) == 2
    assert flow_detail.find("1") is again
    assert flow_detail.find("9") is None


def test_updated_flow_detail_shares_the_container():
    one, other = models.FlowDetail("one", "1"), models.FlowDetail("other", "2")
    other.state, other.meta = "RUNNING", {"a": 1}
    assert one.update(other) is one
    assert one.update(one) is one
    other.add(make_task())
    assert (one.name, one.uuid, one.state, one.meta) == ("one", "1", "RUNNING", {"a": 1})
    assert one.meta is other.meta
    assert len(one) == 1


@pytest.mark.parametrize("deep_copy", [False, True])
def test_merging_flow_details_takes_state_and_metadata_only(deep_copy):
    one, other = models.FlowDetail("one", "1"), models.FlowDetail("other", "2")
    other.state, other.meta = "RUNNING", {"a": [1]}
    other.add(make_task())
    assert one.merge(other, deep_copy=deep_copy) is one
    assert one.merge(one) is one
    assert (one.name, one.uuid, one.state, one.meta, len(one)) == ("one", "1", "RUNNING", {"a": [1]}, 0)
    assert (one.meta is other.meta) is not deep_copy


@pytest.mark.parametrize("retain", [True, False])
def test_copy_of_a_flow_detail_has_its_own_container_and_metadata(retain):
    flow_detail = models.FlowDetail("f", "F")
    flow_detail.state = "SUCCESS"
    task = make_task()
    flow_detail.add(task)
    copy = flow_detail.copy(retain_contents=retain)
    assert (copy.name, copy.uuid, copy.state) == ("f", "F", "SUCCESS")
    assert list(copy) == ([task] if retain else [])
    copy.meta["x"] = 1
    copy.add(make_task("u", "U"))
    assert flow_detail.meta == {}
    assert len(flow_detail) == 1


# -- atom details


@pytest.mark.parametrize(("make", "results"), [(make_task, None), (make_retry, [])])
def test_new_atom_detail(make, results):
    detail = make()
    assert detail.intention == "EXECUTE"
    assert detail.results == results
    assert detail.meta == {}
    for name in ("state", "failure", "revert_results", "revert_failure", "version"):
        assert getattr(detail, name) is None


def test_histories_are_not_shared_between_retries():
    one, other = make_retry(), make_retry()
    one.results.append((1, {}))
    assert other.results == []


@pytest.mark.parametrize("make", [make_task, make_retry])
def test_updated_atom_detail_takes_everything_by_reference(make):
    one, other = make("one", "1"), make("other", "2")
    values = {
        "state": "S",
        "intention": "REVERT",
        "meta": {},
        "failure": make_failure(),
        "results": [],
        "revert_results": object(),
        "revert_failure": make_failure(),
        "version": (1, 2),
    }
    for name, value in values.items():
        setattr(other, name, value)
    assert one.update(other) is one
    assert one.update(one) is one
    assert all(getattr(one, name) is value for name, value in values.items())
    assert (one.name, one.uuid) == ("one", "1")


@pytest.mark.parametrize(("make", "results"), [(make_task, None), (make_retry, [])])
def test_reset_keeps_metadata_and_version(make, results):
    detail = make()
    detail.put(states.FAILURE, make_failure())
    detail.put(states.REVERT_FAILURE, make_failure())
    detail.revert_results = 1
    detail.results = [(1, {})]
    detail.intention, detail.meta, detail.version = "REVERT", {"a": 1}, "1.0"
    detail.reset("PENDING")
    assert (detail.state, detail.intention, detail.results) == ("PENDING", "EXECUTE", results)
    assert (detail.failure, detail.revert_failure, detail.revert_results) == (None, None, None)
    assert (detail.meta, detail.version) == ({"a": 1}, "1.0")


@pytest.mark.parametrize("deep_copy", [False, True])
@pytest.mark.parametrize("make", [make_task, make_retry])
def test_merged_atom_detail_takes_state_failures_metadata_and_version(make, deep_copy):
    one, other = make("one", "1"), make("other", "2")
    other.state, other.intention = "FAILURE", "REVERT"
    other.failure, other.revert_failure = make_failure(), make_failure("again")
    other.meta, other.version = {"a": [1]}, "1.0"
    assert one.merge(other, deep_copy=deep_copy) is one
    assert (one.name, one.uuid) == ("one", "1")
    assert (one.state, one.intention, one.meta, one.version) == ("FAILURE", "REVERT", {"a": [1]}, "1.0")
    assert one.failure == other.failure
    assert one.revert_failure == other.revert_failure
    assert (one.failure is other.failure) is not deep_copy
    assert (one.meta is other.meta) is not deep_copy
    one.merge(make())
    assert (one.failure, one.revert_failure, one.meta, one.version) == (None, None, {}, None)


def test_equal_failure_is_kept_when_merging():
    one, other = make_task(), make_task()
    one.failure = make_failure()
    other.failure = one.failure.copy()
    kept = one.failure
    one.merge(other)
    assert one.failure is kept


@pytest.mark.parametrize(("one", "other"), [(make_task, make_retry), (make_retry, make_task)])
def test_tasks_and_retries_do_not_merge(one, other):
    with pytest.raises(exc.NotImplementedError):
        one().merge(other())


@pytest.mark.parametrize("make", [make_task, make_retry])
def test_merging_an_atom_detail_with_itself_changes_nothing(make):
    detail = make()
    results = detail.results
    assert detail.merge(detail) is detail
    assert detail.results is results


class Uncopyable:
    def __deepcopy__(self, memo):
        raise RuntimeError("no")

    def __copy__(self):
        raise RuntimeError("no")

    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = None


def test_results_of_a_task_are_merged_by_reference():
    one, other = make_task(), make_task()
    other.results, other.revert_results = Uncopyable(), Uncopyable()
    one.merge(other, deep_copy=True)
    assert one.results is other.results
    assert one.revert_results is other.revert_results


@pytest.mark.parametrize("deep_copy", [False, True])
def test_history_of_a_retry_is_rebuilt_when_merging(deep_copy):
    one, other = make_retry(), make_retry()
    result, failure = Uncopyable(), make_failure()
    other.results = [(result, {"t": failure})]
    other.revert_results = revert_results = object()
    one.merge(other, deep_copy=deep_copy)
    assert one.results is not other.results
    ((merged, failures),) = one.results
    assert merged is result
    assert failures is not other.results[0][1]
    assert (failures["t"] is failure) is not deep_copy
    assert failures == {"t": failure}
    assert one.revert_results is revert_results


@pytest.mark.parametrize("make", [make_task, make_retry])
def test_copy_of_an_atom_detail_has_its_own_metadata(make):
    detail = make()
    detail.version = [1, 2]
    detail.revert_results = Uncopyable()
    copy = detail.copy()
    assert type(copy) is type(detail)
    assert copy.revert_results is detail.revert_results
    copy.meta["x"] = 1
    copy.version.append(3)
    assert detail.meta == {}
    assert detail.version == [1, 2]


def test_copy_of_a_task_shares_its_results():
    detail = make_task()
    detail.results = Uncopyable()
    assert detail.copy().results is detail.results


def test_copy_of_a_retry_has_its_own_history():
    detail = make_retry()
    detail.results = [(Uncopyable(), {"t": make_failure()})]
    copy = detail.copy()
    assert copy.results[0][0] is detail.results[0][0]
    assert copy.results[0][1]["t"] is detail.results[0][1]["t"]
    copy.results[0][1].clear()
    copy.results.append((1, {}))
    assert len(detail.results) == 1
    assert list(detail.results[0][1]) == ["t"]


# -- put

FULL = {"results": "old", "failure": "F", "revert_results": "rr", "revert_failure": "RF"}
TASK_PUT = {
    "SUCCESS": {"results": "new", "failure": None, "revert_results": None, "revert_failure": None},
    "FAILURE": {"results": None, "failure": "new", "revert_results": None, "revert_failure": None},
    "REVERTED": {"results": "old", "failure": "F", "revert_results": "new", "revert_failure": None},
    "REVERT_FAILURE": {"results": None, "failure": "F", "revert_results": None, "revert_failure": "new"},
    "RUNNING": FULL,
    "REVERTING": FULL,
}
RETRY_PUT = {
    "SUCCESS": {"results": [("old", {}), ("new", {})], "failure": None, "revert_results": None, "revert_failure": None},
    "FAILURE": {"results": [("old", {})], "failure": "new", "revert_results": None, "revert_failure": None},
    "REVERTED": {"results": [("old", {})], "failure": "F", "revert_results": "new", "revert_failure": None},
    "REVERT_FAILURE": {"results": [("old", {})], "failure": "F", "revert_results": None, "revert_failure": "new"},
    "RETRYING": {**FULL, "results": [("old", {})]},
}


@pytest.mark.parametrize(("state", "expected"), TASK_PUT.items())
def test_putting_a_state_into_a_task(state, expected):
    detail = make_task()
    for name, value in FULL.items():
        setattr(detail, name, value)
    assert detail.put(state, "new") is True
    assert detail.state == state
    assert {name: getattr(detail, name) for name in FULL} == expected
    assert detail.put(state, "new") is False


@pytest.mark.parametrize(("state", "expected"), RETRY_PUT.items())
def test_putting_a_state_into_a_retry(state, expected):
    detail = make_retry()
    for name, value in FULL.items():
        setattr(detail, name, value)
    detail.results = [("old", {})]
    assert detail.put(state, "new") is True
    assert detail.state == state
    assert {name: getattr(detail, name) for name in FULL} == expected
    assert detail.put(state, "new") is (state == "SUCCESS")


@pytest.mark.parametrize("state", ["SUCCESS", "REVERTED"])
def test_results_are_compared_by_identity(state):
    detail = make_task()
    result = Uncopyable()
    assert detail.put(state, result) is True
    assert detail.put(state, result) is False
    assert detail.put(state, Uncopyable()) is True


@pytest.mark.parametrize("state", ["FAILURE", "REVERT_FAILURE"])
@pytest.mark.parametrize("make", [make_task, make_retry])
def test_failures_are_compared_by_equality(make, state):
    detail = make()
    failure = make_failure()
    detail.put(state, failure)
    assert detail.put(state, failure.copy()) is False
    assert detail.put(state, make_failure("other")) is True


@pytest.mark.parametrize("left", ["failure", "revert_failure", "revert_results"])
def test_clearing_something_is_a_change(left):
    detail = make_task()
    result = object()
    detail.put("SUCCESS", result)
    setattr(detail, left, make_failure())
    assert detail.put("SUCCESS", result) is True
    assert getattr(detail, left) is None


@pytest.mark.parametrize("make", [make_task, make_retry])
@pytest.mark.parametrize("state", ["SUCCESS", "FAILURE", "REVERTED", "REVERT_FAILURE", "RUNNING"])
def test_outcome_tells_what_put_would_do_and_does_nothing(make, state):
    detail = make()
    detail.put("REVERTED", 1)
    before = detail.to_dict()
    fields = detail.outcome(state, make_failure() if "FAILURE" in state else 5)
    assert detail.to_dict() == before
    twin = detail.copy()
    twin.put(state, fields.get("failure") or fields.get("revert_failure") or 5)
    for name, value in fields.items():
        assert getattr(twin, name) == value
        setattr(detail, name, value)
    assert detail.to_dict() == twin.to_dict()


# -- the history of a retry


def test_last_results_and_failures_are_those_of_the_newest_attempt():
    detail = make_retry()
    detail.put("SUCCESS", 1)
    detail.put("SUCCESS", 2)
    detail.last_failures["t"] = failure = make_failure()
    assert detail.last_results == 2
    assert detail.results == [(1, {}), (2, {"t": failure})]


@pytest.mark.parametrize("name", ["last_results", "last_failures"])
def test_empty_history_has_no_last_attempt(name):
    with pytest.raises(exc.NotFound) as caught:
        getattr(make_retry(), name)
    assert isinstance(caught.value.cause, IndexError)
    assert caught.value.__cause__ is caught.value.cause


def test_last_results_of_a_task_are_its_results():
    detail = make_task()
    detail.put("SUCCESS", 1)
    assert detail.last_results == 1


# -- dictionaries


def test_dictionary_of_a_book():
    book = models.LogBook("b", "B")
    book.meta = {"a": 1}
    data = book.to_dict()
    assert list(data) == ["name", "meta", "uuid", "updated_at", "created_at"]
    assert data["created_at"] is book.created_at
    assert data["updated_at"] is None
    read = models.LogBook.from_dict(data)
    assert read.to_dict() == data


def test_dictionary_of_a_book_with_its_times_as_numbers():
    book = models.LogBook("b", "B")
    book.created_at = dt.datetime(2026, 11, 23, 11, 15, 56, 745389)
    data = book.to_dict(marshal_time=True)
    assert data["updated_at"] is None
    assert data["created_at"] == {
        "day": 23,
        "month": 11,
        "year": 2026,
        "hour": 11,
        "minute": 15,
        "second": 56,
        "microsecond": 745389,
    }
    assert models.LogBook.from_dict(data, unmarshal_time=True).created_at == book.created_at


@pytest.mark.parametrize("missing", ["name", "uuid", "updated_at", "created_at"])
def test_book_needs_four_keys(missing):
    data = models.LogBook("b").to_dict()
    del data[missing]
    with pytest.raises(KeyError):
        models.LogBook.from_dict(data)


@pytest.mark.parametrize("meta", [None, [], "x", 5])
@pytest.mark.parametrize(
    ("cls", "data"),
    [
        (models.LogBook, {"name": "n", "uuid": "U", "updated_at": None, "created_at": None}),
        (models.FlowDetail, {"name": "n", "uuid": "U"}),
        (models.TaskDetail, {"name": "n", "uuid": "U"}),
    ],
)
def test_metadata_that_is_no_dictionary_is_read_as_empty(cls, data, meta):
    assert cls.from_dict(data).meta == {}
    assert cls.from_dict({**data, "meta": meta, "extra": 1}).meta == {}
    assert cls.from_dict({**data, "meta": {"a": 1}}).meta == {"a": 1}


def test_dictionary_of_a_flow_detail():
    flow_detail = models.FlowDetail("f", "F")
    flow_detail.state, flow_detail.meta = "RUNNING", {"a": 1}
    flow_detail.add(make_task())
    assert list(flow_detail.to_dict().items()) == [
        ("name", "f"),
        ("meta", {"a": 1}),
        ("state", "RUNNING"),
        ("uuid", "F"),
    ]
    read = models.FlowDetail.from_dict({**flow_detail.to_dict(), "created_at": 1, "parent_uuid": "B"})
    assert read.to_dict() == flow_detail.to_dict()
    assert models.FlowDetail.from_dict({"name": "f", "uuid": "F"}).state is None


@pytest.mark.parametrize("cls", [models.FlowDetail, models.TaskDetail, models.RetryDetail])
@pytest.mark.parametrize("missing", ["name", "uuid"])
def test_flow_and_atom_details_need_name_and_uuid(cls, missing):
    data = {"name": "n", "uuid": "U"}
    del data[missing]
    with pytest.raises(KeyError):
        cls.from_dict(data)


def test_dictionary_of_a_task_detail():
    detail = make_task()
    failure = make_failure()
    detail.put("FAILURE", failure)
    detail.version = "1.0"
    data = detail.to_dict()
    assert list(data) == [
        "failure",
        "revert_failure",
        "meta",
        "name",
        "results",
        "revert_results",
        "state",
        "version",
        "intention",
        "uuid",
    ]
    assert data["failure"] == failure.to_dict(include_args=True)
    assert data["failure"]["exc_args"] == ("boom",)
    assert data["revert_failure"] is None
    read = models.TaskDetail.from_dict(data)
    assert read.failure.matches(failure)
    assert read.to_dict() == data


def test_missing_intention_is_read_as_none():
    assert models.TaskDetail.from_dict({"name": "t", "uuid": "T"}).intention is None


def test_history_keeps_the_result_of_an_attempt_that_collected_failures():
    detail = make_retry()
    detail.put("SUCCESS", 42)
    detail.last_failures["t"] = failure = make_failure()
    detail.put("SUCCESS", 43)
    data = detail.to_dict()
    assert data["results"] == [(42, {"t": failure.to_dict(include_args=True)}), (43, {})]
    read = models.RetryDetail.from_dict({**data, "results": [list(pair) for pair in data["results"]]})
    assert [result for result, _ in read.results] == [42, 43]
    assert type(read.results[0]) is tuple
    assert read.results[0][1]["t"].matches(failure)


@pytest.mark.parametrize("history", [None, []])
def test_empty_history_is_written_and_read_as_a_list(history):
    detail = make_retry()
    detail.results = history
    assert detail.to_dict()["results"] == []
    assert models.RetryDetail.from_dict({"name": "r", "uuid": "R", "results": history}).results == []


# -- drawing


def test_drawing_of_a_book():
    book = models.LogBook("b", "U")
    flow_detail = models.FlowDetail("f", "F")
    book.add(flow_detail)
    task = make_task()
    task.version, task.results, task.meta = (1, 2), 5, {"progress": 1.0}
    flow_detail.add(task)
    book.meta = {"progress": 0.5, "x": 1}
    book.created_at = dt.datetime(2026, 11, 23, 11, 15, 56, 745389)
    book.updated_at = dt.datetime(2026, 11, 23, 11, 15, 56, 745431)
    assert book.pformat(linesep="\n").split("\n") == [
        "LogBook: 'b'",
        " - uuid = U",
        " - metadata:",
        "   + progress = 50.00%",
        "   + x = 1",
        " - created_at = 2026-11-23T11:15:56.745389",
        " - updated_at = 2026-11-23T11:15:56.745431",
        " FlowDetail: 'f'",
        "  - uuid = F",
        "  - state = None",
        "  TaskDetail: 't'",
        "   - uuid = T",
        "   - state = None",
        "   - version = 1.2",
        "   - results = 5",
        "   - failure = False",
        "   - metadata:",
        "     + progress = 100.00%",
    ]


def test_drawing_starts_at_the_indentation_and_shows_only_what_is_set():
    book = models.LogBook("b", "U")
    book.created_at = None
    assert book.pformat(indent=2, linesep="|") == "  LogBook: 'b'|   - uuid = U"
    detail = make_task()
    detail.failure, detail.version, detail.meta = make_failure(), "7", {"progress": "half"}
    assert detail.pformat(linesep="|").endswith(
        "version = 7| - results = None| - failure = True| - metadata:|   + progress = half"
    )
