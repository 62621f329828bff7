"""Networks computed in bands of rows: pictures of any size in bounded memory, instance norm over all of it included.

`graph` reads the layers of a network, `operations` knows which rows depend on which, `planning` decides what is kept on
the disk between the passes that instance norm takes, and `execution` runs them.
"""

from __future__ import annotations

from i2i.inference.tiling.streaming.execution import StreamedPicture, streamed_rows
from i2i.inference.tiling.streaming.graph import LayerGraph, UnknownLayerError, layer_graph

__all__ = ["LayerGraph", "StreamedPicture", "UnknownLayerError", "layer_graph", "streamed_rows"]
