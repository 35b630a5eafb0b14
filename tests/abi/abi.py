#!/usr/bin/env python3
"""Reads what abidw wrote of the canary.

  abi.py compare BASELINE NEW   exit 1 unless NEW keeps BASELINE's promise: structs that start with `size` keep their members,
                                in place, by name and type, and may have more at the end; other structs are the same.
  abi.py asserts BASELINE       layout.h: the baseline's offsets as static asserts, so that a compiler alone can refuse.

Why not abidiff --suppressions with has_data_member_inserted_at = end: libabigail 2.2 then also hides members that were given
another type, name or signature in the same struct.
"""
import sys
import xml.etree.ElementTree as xml


class Abi:
    """structs: name -> [(member, offset in bytes, type as text)]; sizes: name -> bytes"""

    def __init__(self, path):
        self.by_id = {e.get("id"): e for e in xml.parse(path).iter() if e.get("id")}
        self.structs, self.sizes = {}, {}
        for e in self.by_id.values():
            name = e.get("name", "")
            if e.tag == "class-decl" and name.startswith("tg_") and e.get("size-in-bits"):
                self.sizes[name] = int(e.get("size-in-bits")) // 8
                self.structs[name] = [self.member(m) for m in e.iter("data-member")]

    def member(self, element):
        variable = element.find("var-decl")
        return variable.get("name"), int(element.get("layout-offset-in-bits")) // 8, self.type(variable.get("type-id"))

    def type(self, type_id):
        """The type as text, through typedefs, down to structs (which are compared by themselves)."""
        e = self.by_id[type_id]
        inner = lambda: self.type(e.get("type-id"))
        if e.tag == "typedef-decl":
            return inner()
        if e.tag == "pointer-type-def":
            return inner() + "*"
        if e.tag == "qualified-type-def":
            return "const " + inner() if e.get("const") == "yes" else inner()
        if e.tag == "array-type-def":
            return inner() + "[" + ",".join(s.get("length") for s in e.iter("subrange")) + "]"
        if e.tag == "function-type":
            parameters = ", ".join(self.type(p.get("type-id")) for p in e.iter("parameter"))
            return self.type(e.find("return").get("type-id")) + "(" + parameters + ")"
        return e.get("name")

    def grows(self, name):
        return self.structs[name][0][0] == "size"


def compare(old, new):
    wrongs = []
    for name in sorted(old.structs):
        if name not in new.structs:
            wrongs.append(f"{name} is gone")
            continue
        was, now = old.structs[name], new.structs[name]
        for i, (member, offset, type_) in enumerate(was):
            found = now[i] if i < len(now) else ("nothing", 0, "")
            if found != was[i]:
                wrongs.append(f"{name}: expected '{type_} {member}' at {offset}, found '{found[2]} {found[0]}' at {found[1]}")
                break
        else:
            if len(now) > len(was) and not old.grows(name):
                wrongs.append(f"{name} has no size and must never grow; it got '{now[len(was)][0]}'")
    return wrongs


def asserts(old):
    yield "/* Made by abi_gate.sh --update from abi-1.abi. Do not edit. */"
    yield "#define MEMBER(type, member, offset) \\"
    yield '  _Static_assert(offsetof(struct type, member) == offset, #type "." #member " was moved")'
    yield '#define GROWS(type, bytes) _Static_assert(sizeof(struct type) >= bytes, #type " lost a member")'
    yield '#define FIXED(type, bytes) _Static_assert(sizeof(struct type) == bytes, #type " must not change: it has no size")'
    for name in sorted(old.structs):
        yield f"{'GROWS' if old.grows(name) else 'FIXED'}({name}, {old.sizes[name]});"
        for member, offset, _ in old.structs[name]:
            yield f"MEMBER({name}, {member}, {offset});"


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "asserts":
        print("\n".join(asserts(Abi(sys.argv[2]))))
    elif len(sys.argv) == 4 and sys.argv[1] == "compare":
        wrongs = compare(Abi(sys.argv[2]), Abi(sys.argv[3]))
        print("\n".join(wrongs), end="\n" if wrongs else "")
        sys.exit(1 if wrongs else 0)
    else:
        sys.exit(__doc__)
