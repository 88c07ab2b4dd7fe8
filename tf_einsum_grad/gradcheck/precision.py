"""Machine precision by dtype, and the relative tolerance that goes with it."""

from __future__ import annotations

EPS = {
    "float64": 2.0**-52,
    "complex128": 2.0**-52,
    "float32": 2.0**-23,
    "complex64": 2.0**-23,
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
}
RTOL = {2.0**-52: 1e-7, 2.0**-23: 2e-5, 2.0**-10: 1e-2, 2.0**-7: 5e-2}
