"""How the libraries are imported: each on first use, in the process of its side, and no more of it than the model."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any


def transformers() -> Any:
    """Return transformers; it imports torchvision where that is there, whichever torch it was built for."""
    _no_torchvision_kernels()
    return importlib.import_module("transformers")


def timm() -> Any:
    """Return timm."""
    _no_torchvision_kernels()
    return importlib.import_module("timm")


def paddlenlp_transformers() -> Any:
    """Return ``paddlenlp.transformers`` without what ``paddlenlp`` imports beside it, a web server among it."""
    _bare("paddlenlp")
    importlib.import_module("paddlenlp.data")  # what follows imports it in a circle
    return importlib.import_module("paddlenlp.transformers")


def paddleclas(module: str) -> Any:
    """Return a module of paddleclas' model zoo, ``backbone.model_zoo.dpn`` say, without its trainer."""
    _bare("paddleclas", "ppcls", "ppcls.arch", "ppcls.arch.backbone", "ppcls.utils")
    logger = importlib.import_module("paddleclas.ppcls.utils.logger")
    if getattr(logger, "_logger", None) is None:
        logger.init_logger()  # some models say that their weights are not pretrained
    return importlib.import_module(f"paddleclas.ppcls.arch.{module}")


def diffusers() -> Any:
    """Return diffusers."""
    _no_torchvision_kernels()
    return importlib.import_module("diffusers")


def ppdiffusers() -> Any:
    """Return ppdiffusers; it asks the hub's client for a function that newer ones do not have, to load with."""
    paddlenlp_transformers()
    hub = importlib.import_module("huggingface_hub")
    hub.__dict__.setdefault("cached_download", None)
    return importlib.import_module("ppdiffusers")


_DISTRIBUTIONS = {"ppdet": "paddledet"}


def ppdet(module: str) -> Any:
    """Return a module of ``ppdet.modeling``, without the readers of data sets."""
    _bare("ppdet", "modeling", "modeling.backbones", "modeling.necks", "data", "utils")
    return importlib.import_module(f"ppdet.modeling.{module}")


def paddleseg(module: str) -> Any:
    """Return a module of paddleseg, without its trainer."""
    _bare("paddleseg", "models", "models.backbones", "cvlibs")
    return importlib.import_module(f"paddleseg.{module}")


def torchvision() -> Any:
    """Return torchvision, whichever torch it was built for."""
    _no_torchvision_kernels()
    return importlib.import_module("torchvision")


def _bare(name: str, *inner: str) -> None:
    """Import a package, and some in it, as folders: their ``__init__`` is not run."""
    if name in sys.modules:
        return
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise ImportError(f"{name} is not installed: pip install --no-deps -r parity_tests/wild/requirements.txt")
    folder = Path(found.origin).parent
    for path in ("", *inner):
        full = f"{name}.{path}" if path else name
        module = types.ModuleType(full)
        module.__path__ = [str(folder.joinpath(*path.split(".")) if path else folder)]
        module.__spec__ = found if not path else importlib.machinery.ModuleSpec(full, None, is_package=True)
        vars(module)["__version__"] = importlib.metadata.version(_DISTRIBUTIONS.get(name, name))
        sys.modules[full] = module


def _no_torchvision_kernels() -> None:
    """Let torchvision be imported beside a torch that it was not built for: its operators are not registered then."""
    sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
