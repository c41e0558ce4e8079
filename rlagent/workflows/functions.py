"""Finding the user's functions at run time: `module:function` and `path/to/file.py:function`.

Whether they exist and fit is checked earlier, without importing them, in rlagent.config.check.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def load_function(spec: str) -> Callable[..., Any]:
    """Import what `spec` names.

    Args:
        spec: `package.module:function`, or `path/to/file.py:function`; a file's own folder
            becomes importable, as when Python runs it.

    Raises:
        ImportError: The module or the function does not exist.
    """
    module_name, _, function_name = spec.rpartition(":")
    if module_name.endswith(".py"):
        module = _load_file(Path(module_name).absolute())
    else:
        module = importlib.import_module(module_name)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ImportError(f"{module_name} has no function {function_name!r}")
    return function


def _load_file(path: Path) -> Any:
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    if module_spec is None or module_spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(module_spec)
    # Registered before it runs, so that pydantic and pickle find its classes.
    sys.modules[path.stem] = module
    module_spec.loader.exec_module(module)
    return module
