"""Blending of StyleGAN2 generators: each model's share of each layer, and the blended weights."""

from export.blending.blend import Blend, BlendReport, blend
from export.blending.groups import BlendSchedule, Donor
from export.blending.schedule import schedule_from_options

__all__ = ["Blend", "BlendReport", "BlendSchedule", "Donor", "blend", "schedule_from_options"]
