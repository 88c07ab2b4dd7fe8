import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# On a GPU float32 is compared as float32, not as TensorFloat-32.
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")

from hypothesis import settings

# Failures must come back from run to run; a first call that compiles is no reason to fail.
settings.register_profile("tests", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("tests")
