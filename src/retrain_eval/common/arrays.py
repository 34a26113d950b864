"""The types of arrays, one name for each."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Index = npt.NDArray[np.intp]  # positions in another array
ShortInts = npt.NDArray[np.int32]  # labels as SciPy's graph routines number them
AnyInts = npt.NDArray[np.integer]
Objects = npt.NDArray[np.object_]
AnyArray = npt.NDArray[Any]
