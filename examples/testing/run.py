"""Runs the tests of this folder."""

import sys

import pytest

sys.exit(pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", *sys.argv[1:]]))
