"""Checks functions of variables that a MirroredStrategy made; prints statuses and names as JSON.

A program, since logical devices can only be made before TensorFlow starts.
"""

import json

import keras
import tensorflow as tf

from tests.gradcheck.helpers import names, x
from tf_einsum_grad.gradcheck import check_gradients


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    found = {}
    for replicas in (1, 2):
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        with tf.distribute.MirroredStrategy([f"CPU:{k}" for k in range(replicas)]).scope():
            w = tf.Variable(x(3, 4), name="w")
            layers = [keras.layers.Dense(3), keras.layers.BatchNormalization()]
            model = keras.Sequential([keras.Input((4,)), *layers])
        reports = [
            check_gradients(lambda v, w=w: v * w, x(3, 4, seed=1)),
            check_gradients(model, x(5, 4), training=True),
        ]
        found[replicas] = [
            (report.status, [n for n in names(report) if n != "training"]) for report in reports
        ]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
