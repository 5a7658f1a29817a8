"""The sentence a user reads."""

from __future__ import annotations

from glmc_zoo.errors import UserError, did_you_mean


def test_a_sentence_ends_with_a_full_stop_once():
    assert UserError("no image: give one").sentence == "No image: give one."
    assert UserError("imagenet_lt needs more").sentence == "imagenet_lt needs more."
    assert UserError("No image; give one.").sentence == "No image; give one."
    assert UserError("Unknown. Did you mean a?").sentence == "Unknown. Did you mean a?"


def test_the_traceback_of_a_worker_is_left_out():
    told = "Caught UserError in worker 0.\nTraceback:\n  line\nglmc_zoo.errors.UserError: image 3 is broken\n"
    assert UserError(told).sentence == "Image 3 is broken."


def test_near_names_are_offered():
    assert did_you_mean("resnet19", ["resnet18", "vit"]) == " Did you mean resnet18?"
    assert did_you_mean("zzz", ["resnet18", "vit"]) == ""
