"""The shared adversarial core: networks, losses and the vocabulary of a training step, as pure tensor code.

Nothing here knows of files, devices, recipes or process groups.
"""
