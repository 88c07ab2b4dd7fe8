"""Our own equations with shapes, generated feature by feature, and Hypothesis strategies for more."""

from __future__ import annotations

import itertools
import random
import string
import zlib
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from tests.reference import Reference, draw
from tf_einsum_grad import einsum

SIZES = dict(zip(string.ascii_lowercase, itertools.cycle((2, 3, 4)), strict=False))


@dataclass(frozen=True)
class Case:
    equation: str
    shapes: tuple[tuple[int, ...], ...]
    sizes: tuple[tuple[str, object], ...] = ()

    def __str__(self):
        shapes = " ".join("x".join(map(str, shape)) or "()" for shape in self.shapes)
        return f"{self.equation!r} {shapes} {dict(self.sizes) or ''}".strip()

    @property
    def kwargs(self):
        return {"sizes": dict(self.sizes)} if self.sizes else {}

    @property
    def reference(self):
        return Reference(self.equation, self.shapes, dict(self.sizes))

    def __call__(self, *operands):
        return einsum(self.equation, *operands, **self.kwargs)

    def draw(self, dtype="float64", what=""):
        """Operands that are the same from run to run."""
        rng = np.random.default_rng(zlib.crc32(f"{self}{what}".encode()))
        return [draw(shape, rng, dtype) for shape in self.shapes]

    def draw_cotangent(self, dtype="float64"):
        rng = np.random.default_rng(zlib.crc32(f"{self} cotangent".encode()))
        return draw(self.reference.output_shape, rng, dtype)


def case(equation, sizes=SIZES, extra=(), ellipses=()):
    """A case of an equation; each operand's ellipsis stands for the shape in `ellipses`."""
    left, _, output = "".join(equation.split()).partition("->")
    ellipses, shapes = iter(ellipses), []
    for term in left.split(","):
        before, dots, after = term.partition("...")
        middle = next(ellipses) if dots else ()
        shapes.append((*(sizes[x] for x in before), *middle, *(sizes[x] for x in after)))
    labels = left.replace("...", "")
    given = [(x, sizes[x]) for x in dict.fromkeys(output.replace("...", "")) if x not in labels]
    return Case(equation, tuple(shapes), (*given, *extra))


def _patterns(length):
    """Every way to repeat labels: '', 'a', 'aa' 'ab', 'aaa' 'aab' 'aba' 'abb' 'abc', ..."""
    rows = [""]
    for _ in range(length):
        rows = [row + x for row in rows for x in string.ascii_lowercase[: len(set(row)) + 1]]
    return rows


def _unary():
    """Diagonals, traces, sums and permutes; then the same turned round: embeddings, broadcasts."""
    for source in itertools.chain.from_iterable(map(_patterns, range(5))):
        labels = "".join(dict.fromkeys(source))
        outputs = {"": None, labels: None, labels[::-1]: None, labels[1:]: None, labels[:1]: None}
        for output in outputs:
            yield case(f"{source}->{output}")
            yield case(f"{output}->{source}")
    for order in itertools.permutations("abcd"):
        yield case(f"abcd->{''.join(order)}")
    # Sums whose kept and summed labels alternate, and repeats on both sides.
    for equation in ("abcdef->ace", "abcdef->bdf", "abcdef->eb", "aabb->bba", "aab->bbaa"):
        yield case(equation)
    for equation in ("abab->ba", "abcab->cb", "aaaa->a", "aaaa->", "aabbaa->ab", "a->aaa"):
        yield case(equation)
    for equation in ("ab->baab", "ab->cabc", "a->bab", "->aab", "abc->cc", "aab->aac"):
        yield case(equation)


def _pairs():
    """Labels of every role in every number, in shuffled orders; then every order of one product."""
    rng = random.Random(0)
    for counts in itertools.product(range(3), repeat=4):
        names = iter(string.ascii_lowercase)
        batch, contracting, lhs, rhs = (list(itertools.islice(names, n)) for n in counts)
        terms = [batch + contracting + lhs, batch + contracting + rhs, batch + lhs + rhs]
        for term in terms:
            rng.shuffle(term)
        yield case("{},{}->{}".format(*map("".join, terms)))
    for lhs, rhs in itertools.product(itertools.permutations("bik"), itertools.permutations("bkj")):
        for output in ("bij", "jbi", "ijb"):
            yield case(f"{''.join(lhs)},{''.join(rhs)}->{output}")
    # The question, and well-known relatives.
    for equation in (
        "ijkm,ijkn->imn",
        "imn,ijkn->ijkm",
        "bqhd,bkhd->bhqk",
        "bhts,bshd->bthd",
        "bijc,bklc->bijkl",
        "abcdef,cfbg->gdae",
    ):
        yield case(equation)


def _pairs_irregular():
    """Labels of one operand alone, repeated labels, and both, on either side."""
    for lhs, rhs, output in itertools.product(
        ("ab", "aab", "abc", "cab", "aa", "bab", ""),
        ("b", "bb", "bd", "bdd", "ab", ""),
        ("", "a", "ab"),
    ):
        if set(output) <= set(lhs + rhs):
            yield case(f"{lhs},{rhs}->{output}")
    for output in ("aa", "aba", "abda", "ddab", "xab", "xxa", "axxb", "x"):
        yield case(f"abc,bcd->{output}")
        yield case(f"ab,ab->{output.replace('d', 'b')}")


def _high_rank():
    """More dimensions than TensorFlow's kernels take, in every kind of contraction."""
    two = dict.fromkeys(string.ascii_lowercase, 2)
    for n in (6, 9, 10):
        row = string.ascii_lowercase[:n]
        odd, even, double = row[::2], row[1::2], "".join(x + x for x in row)
        for equation in (
            f"{row}->{row[::-1]}",
            f"{row}->{odd}",
            f"{even}->{row}",
            f"{row},{odd}->{row}",
            f"{odd},{even}->{row}",
            f"{row},{even}->{odd[::-1]}",
            f"{row}z,z{row}->z{row}",
            f"{row[:-1]}zz->{row[:-1]}z",
            f"z{row}z->{row}z",
            f"{row}z->z{row}z",
            f"{row}z->zz{row}",
            f"{double[:12]}->{row[:6]}",
            f"{row[:6]}->{double[:12]}",
            f"{row}y,z{row}->zy",
        ):
            yield case(equation, two)


def _implicit():
    for equation in ("ab", "ba", "ab,bc", "ba,bc", "cb,ba", "aa", "aab", "ab,ab", "a,b", "a,a", ""):
        yield case(equation)
    for equation in (",", "ba,", "za,ay", "ab,bc,cd", "ab,ac,ad", "Ba,ab", "cab,cb"):
        yield case(equation, {**SIZES, "B": 3})
    yield case("...ab,...bc", ellipses=((2,), (3, 1)))
    yield case("...b,ab", ellipses=((2, 3),))
    yield case("...", ellipses=((2, 3),))
    yield case("...ii", ellipses=((4,),))
    yield case("i...,...i", ellipses=((4,), (2, 4)))


def _ellipses():
    """Ellipses of every pair of ranks, in every place, kept, summed and moved."""
    middles = ((), (3,), (2, 3), (1, 3), (2, 1), (4, 2, 3))
    for one in middles:
        for output in ("a...", "...a", "...", "", "a"):
            yield case(f"a...->{output}", ellipses=(one,))
        yield case("a...a->...", ellipses=(one,))
        yield case("...aab->b...a", ellipses=(one,))
    for left, right in itertools.product(middles, repeat=2):
        yield case("...ab,...bc->...ac", ellipses=(left, right))
        yield case("a...b,bc...->c...a", ellipses=(left, right))
        yield case("...a,...a->a", ellipses=(left, right))
    for middle, output in itertools.product(middles, ("...c", "c...", "ac...", "c", "")):
        yield case(f"a...b,bc->{output}", ellipses=(middle,))
        yield case(f"bc,...b->{output.replace('a', 'b')}", ellipses=(middle,))
    for middle in middles:
        yield case("...,...,...->...", ellipses=(middle, (3,), ()))
        yield case("a...,...b,...->ba", ellipses=((3,), middle, (1, 1)))
    # Output only: a broadcast to dimensions that `sizes` gives.
    for given in ((), (2,), (2, 3)):
        yield case("a->...a", extra=(("...", given),))
        yield case("ab,b->b...a", extra=(("...", given),))
    yield case("...->...b", ellipses=((2, 1),))


def _sizes_of_one():
    """Dimensions of size 1: as such, and broadcasting, in every subset of the places."""
    for equation in ("ab,bc->ac", "abc,acd->abd", "ab,ab->ab", "ab,ab->", "aab,b->a", "ab,b,ac->c"):
        labels = dict.fromkeys(x for x in equation if x.isalpha())
        for narrow in itertools.product((False, True), repeat=len(labels)):
            flags = zip(labels, narrow, strict=True)
            yield case(equation, {x: 1 if one else SIZES[x] for x, one in flags})
        for places in itertools.product(
            (False, True), repeat=len(equation.partition("->")[0].split(","))
        ):
            for label in labels:
                whole = case(equation)
                terms = equation.partition("->")[0].split(",")
                shapes = tuple(
                    tuple(1 if one and x == label else n for x, n in zip(term, shape, strict=True))
                    for term, shape, one in zip(terms, whole.shapes, places, strict=True)
                )
                yield Case(equation, shapes)
    yield Case("i,i->ii", ((1,), (3,)))
    yield Case("i->i", ((1,),), (("i", 4),))
    yield Case("ij,j->ij", ((1, 1), (3,)), (("i", 5),))
    yield Case("i,i,i->", ((1,), (1,), (4,)))
    yield Case("ii,i->i", ((1, 1), (4,)))
    yield Case("ij,jk,kl->il", ((1, 3), (1, 2), (1, 1)))


def _sizes_of_zero():
    for equation in (
        "ab,bc->ac",
        "ab,ab->ab",
        "ab,ab->",
        "aab->b",
        "ab->ba",
        "a->aa",
        "ab->a",
        "a,b,ab->b",
    ):
        labels = tuple(dict.fromkeys(x for x in equation if x.isalpha()))
        for empty in labels:
            yield case(equation, {**SIZES, empty: 0})
        yield case(equation, dict.fromkeys(labels, 0))
    yield case("a->ab", {"a": 0, "b": 2})
    yield case("a->ab", {"a": 2, "b": 0})
    yield case("a...,...->...a", ellipses=((0, 2), (1, 2)))
    yield Case("ab,ab->ab", ((1, 3), (0, 3)))


def _many():
    """Three to ten operands: chains, trees, stars, hyperedges, outer products."""
    letters = string.ascii_lowercase
    two = dict.fromkeys(letters, 2)
    for n in (3, 4, 5, 7, 10):
        chain = ",".join(letters[i : i + 2] for i in range(n))
        yield case(f"{chain}->a{letters[n]}", two)
        yield case(f"{chain}->", two)
        ring = ",".join(letters[i] + letters[(i + 1) % n] for i in range(n))
        yield case(f"{ring}->", two)
        yield case(f"{ring}->ca", two)
        star = ",".join("z" + letters[i] for i in range(min(n, 7)))
        yield case(f"{star}->{letters[: min(n, 7)]}", two)
        yield case(f"{star}->z", two)
        yield case(",".join("a" * n) + "->", two)
        yield case(",".join("a" * n) + "->a", two)
        yield case(",".join(letters[:n]) + "->" + letters[:n][::-1], two)
        yield case(",".join(["ab"] * n) + "->b", two)
    for equation in (
        "ijk,jr,kr->ir",
        "abc,ai,bj,ck->ijk",
        "bqd,bkd,bkv->bqv",
        "ab,bc,cd,de->ea",
        "abc,cde,efg->abdfg",
        "aab,bcc,cad->d",
        "ab,cd,ef->fa",
        "a,ab,abc,abcd->d",
        "abc,bc,c,->a",
        ",,ab,->ba",
        "ab,bc,ca->abc",
        "abx,bcx,cax->x",
        "ab,ab,bc,bc->ac",
        "ab,b,bc->aacc",
        "a,b,c->xcab",
        "aa,bb,ab->",
        "abcd,ab,cd->dc",
    ):
        yield case(equation, {**SIZES, "i": 3, "j": 4, "r": 3, "v": 3, "x": 2, "q": 3})


def _spelling():
    """White space, capitals, letters of other alphabets, and more labels than the Latin one has."""
    yield case(" a b ,\tb c\n->\r\n a   c ")
    yield case("ab ,bc -> a c")
    yield case("Ab,bA->A", {"A": 3, "b": 2})
    yield case("aA,AB->Ba", {"a": 2, "A": 3, "B": 4})
    yield case("αβ,βγ->αγ", {"α": 2, "β": 3, "γ": 4})
    yield case("éé...,中é->中...", {"é": 3, "中": 2}, ellipses=((2, 1),))
    yield case("жи,иж", {"ж": 2, "и": 3})
    every = string.ascii_letters + "αβγδεζηθικλμνξοπρςστυφχψω"
    sizes = {x: 2 if i % 9 == 0 else 1 for i, x in enumerate(every)}
    chain = ",".join(every[i : i + 7] for i in range(0, len(every) - 1, 6))
    yield case(f"{chain}->{every[0]}{every[-1]}", sizes)
    parts = [every[i : i + 6] for i in range(0, 60, 6)]
    yield case(",".join(parts) + "->" + every[0] + every[54], sizes)
    yield case(
        f"{every[50:58]},{every[54:60]}->{every[50:54]}{every[58:60]}", dict.fromkeys(every, 2)
    )


FAMILIES = {
    family.__name__.strip("_"): tuple(dict.fromkeys(family()))
    for family in (
        _unary,
        _pairs,
        _pairs_irregular,
        _high_rank,
        _implicit,
        _ellipses,
        _sizes_of_one,
        _sizes_of_zero,
        _many,
        _spelling,
    )
}
CORPUS = tuple(dict.fromkeys(itertools.chain.from_iterable(FAMILIES.values())))


def random_case(rng: random.Random, max_operands=4, ellipsis=True):
    """A random equation: any labels anywhere, sizes of 0 and 1, broadcasting, ellipses, repeats."""
    labels = "abcde"

    def text():
        return "".join(rng.choice(labels) for _ in range(rng.randint(0, 4)))

    def dotted(term, at):
        return term[:at] + "..." + term[at:]

    sizes = {x: rng.choice((2, 3, 1, 0, 2, 3)) for x in labels}
    middle = [rng.randint(1, 3) for _ in range(rng.randint(0, 2))] if ellipsis else []
    terms, shapes = [], []
    for _ in range(rng.randint(1, max_operands)):
        term = text()
        wide = {x: rng.randint(0, 3) < 3 for x in sorted(set(term))}
        shape = [sizes[x] if wide[x] else 1 for x in term]
        if ellipsis and rng.randint(0, 1):
            at = rng.randint(0, len(term))
            own = [n if rng.randint(0, 1) else 1 for n in middle[rng.randint(0, len(middle)) :]]
            term, shape = dotted(term, at), shape[:at] + own + shape[at:]
        terms.append(term)
        shapes.append(tuple(shape))
    equation = ",".join(terms)
    given = ()
    if rng.randint(0, 3) < 3:
        output = text()
        if "..." in equation and rng.randint(0, 1):
            output = dotted(output, rng.randint(0, len(output)))
        new = sorted(set(output.replace("...", "")) - set(equation))
        given = tuple((x, sizes[x]) for x in new)
        equation += "->" + output
    return Case(equation, tuple(shapes), given)


def cases(max_operands=4, ellipsis=True):
    """The same for Hypothesis, which shrinks them."""
    return st.builds(random_case, st.randoms(), st.just(max_operands), st.just(ellipsis))
