"""The arithmetic of tickets across computers, against a model: a list of what is free."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gridcentric.hypervisors.ray.room import Room, Size, fits, share_out

NAMES = "abcd"
VMS = st.builds(Size, st.integers(1, 4), st.integers(1, 4))


@given(st.builds(Size, st.integers(0, 50), st.integers(0, 50)), st.builds(Size, st.integers(0, 5), st.integers(1, 5)))
def test_what_fits_fits_and_one_more_does_not(free: Size, vm: Size) -> None:
    def has(many: int) -> bool:
        return many * vm.cpus <= free.cpus and many * vm.memory <= free.memory

    many = fits(free, vm)
    assert has(many) and not has(many + 1)


@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=20), st.sampled_from(NAMES), st.data())
def test_each_clone_is_on_one_computer_of_its_ticket(where: list[str], first: str, data: st.DataObject) -> None:
    clones = [(key, key + 1, f"10.77.0.{key}") for key in range(data.draw(st.integers(1, len(where))))]
    shares = share_out(clones, where, first)
    assert sorted(clone for share in shares.values() for clone in share) == clones
    assert all(len(share) <= where.count(name) for name, share in shares.items())
    # The parent's own computer has what clones start from already.
    assert len(shares.get(first, [])) == min(where.count(first), len(clones))


class Bookkeeping(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.room = Room({name: Size(8, 16) for name in NAMES})
        self.left = {name: [8, 16] for name in NAMES}
        self.held: dict[str, tuple[Size, list[str]]] = {}
        self.number = 0

    @rule(vm=VMS, most=st.integers(1, 40))
    def take(self, vm: Size, most: int) -> None:
        """As many as the room says, placed as anybody may place them."""
        many = min(most, self.room.most(vm))
        places = []
        for name in NAMES:
            while len(places) < many and self.left[name][0] >= vm.cpus and self.left[name][1] >= vm.memory:
                self.left[name][0] -= int(vm.cpus)
                self.left[name][1] -= int(vm.memory)
                places.append(name)
        assert len(places) == many, "what is said to fit does"
        if many:
            self.number += 1
            self.held[str(self.number)] = (vm, places)
            self.room.take(str(self.number), vm, places)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.held)))
        vm, places = self.held.pop(ticket)
        for name in places:
            self.left[name][0] += int(vm.cpus)
            self.left[name][1] += int(vm.memory)
        for _ in range(2):  # also what a ticket that has nothing gives back
            self.room.give_back(ticket)

    @invariant()
    def agrees(self) -> None:
        assert self.room.free() == {name: Size(*left) for name, left in self.left.items()}

    @invariant()
    def others_only_make_it_less(self) -> None:
        vm = Size(1, 2)
        assert self.room.most(vm, {}) == 0
        assert self.room.most(vm, self.room.free()) == self.room.most(vm)
        assert self.room.most(vm, {"a": Size(1, 100)}) <= 1


TestBookkeeping = Bookkeeping.TestCase


def test_a_computer_that_is_gone_has_no_room() -> None:
    room = Room({"a": Size(8, 16), "b": Size(8, 16)})
    room.take("ticket", Size(1, 1), ["a", "a", "b"])
    del room.computers["b"]
    assert room.free() == {"a": Size(6, 14)}
    room.give_back("ticket")
    assert room.most(Size(1, 1)) == 8
