"""The part of a model in a checkpoint: the trained part and a digest of the frozen part."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ft_lightning.finetune import digest_of
from ft_lightning.model import Classifier
from ft_lightning.system.errors import NumericalError, UserError

_PREFIX = "classifier."  # of names in a checkpoint: the attribute of the LightningModule
# With `callback=ema`, state_dict holds the averaged weights and current_model_state the raw ones.
_WEIGHTS = {"state_dict", "current_model_state"}


class TrainedPart:
    """Packs and unpacks the trained part of one model; the frozen part's digest is computed once."""

    def __init__(self, model: Classifier) -> None:
        self.model = model
        self._frozen_digest = ""

    def pack(self, checkpoint: dict[str, Any], after: str) -> None:
        """Remove the frozen part from a checkpoint; `after` names the step and its rate for error messages."""
        names = self._trained().keys()
        for key in _WEIGHTS & checkpoint.keys():
            checkpoint[key] = {name: value for name, value in checkpoint[key].items() if name in names}
        if broken := [name for name, value in checkpoint["state_dict"].items() if not value.isfinite().all()]:
            raise NumericalError(
                f"{broken[0].removeprefix(_PREFIX)} is not finite after {after}: use another one, or precision=32-true."
            )
        checkpoint["frozen_sha256"] = self.frozen_sha256()

    def unpack(self, checkpoint: dict[str, Any], state: Mapping[str, Tensor]) -> None:
        """Add the frozen part of the LightningModule's state to a checkpoint."""
        expected, found = self._trained().keys(), checkpoint["state_dict"].keys()
        if expected != found:
            raise UserError(
                f"The checkpoint holds another trained part than this run, for example {sorted(expected ^ found)[0]}: "
                "use the finetune, model and head settings it was trained with."
            )
        if checkpoint["frozen_sha256"] != self.frozen_sha256():
            raise UserError(
                f"The frozen weights and their preprocess have sha256 {self.frozen_sha256()}, the checkpoint was "
                f"trained on {checkpoint['frozen_sha256']}: use the model.weights it was trained with."
            )
        frozen = {name: value for name, value in state.items() if name not in expected}
        for key in _WEIGHTS & checkpoint.keys():  # WeightAveraging needs all weights
            checkpoint[key] |= frozen

    def frozen_sha256(self) -> str:
        """Return the hexadecimal sha256 over the frozen weights and their reader."""
        if not self._frozen_digest:
            frozen = digest_of(self.model.plan.frozen_state(self.model.state_dict()))
            reader = json.dumps(self.model.backbone.reader.to_dict(), sort_keys=True)
            self._frozen_digest = hashlib.sha256(f"{frozen}{reader}".encode()).hexdigest()
        return self._frozen_digest

    def _trained(self) -> dict[str, Tensor]:
        trained = self.model.plan.trained_state(self.model.state_dict())
        return {f"{_PREFIX}{name}": value for name, value in trained.items()}
