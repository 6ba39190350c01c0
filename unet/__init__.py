"""What the five scripts are made of, in rooms by subject; a room imports only those below it:

streams < errors, lazy, matching < jobs, machine < runs, options, losses, layers, weights <
encoders, reading < data < pictures < prediction < training.
"""

import os
import time

BEGAN = time.monotonic()  # this process, but for Python itself
LARGEST_IMAGE = 2**28  # pixels; a file of a few bytes may say that it has more
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(LARGEST_IMAGE))  # read by OpenCV on import
# A card's memory is taken as it is needed, not whole: other processes, and the desktop, have some.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # read by TensorFlow
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # and by JAX
