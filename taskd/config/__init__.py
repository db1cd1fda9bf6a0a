"""taskd.yaml and the environment → settings: typed, checked, frozen."""

from taskd.config.effective import Setting, effective
from taskd.config.loading import load
from taskd.config.models import Settings
from taskd.config.urls import masked

__all__ = ["Setting", "Settings", "effective", "load", "masked"]
