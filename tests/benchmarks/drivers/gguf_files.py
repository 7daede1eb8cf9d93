"""GGUF files of other types, for llama.cpp: any Python that has gguf runs this."""

from pathlib import Path

import gguf
import numpy as np


def requantise(source: Path, target: Path, kind: gguf.GGMLQuantizationType) -> None:
    """A GGUF with its matrices in another type."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, arch="llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        array = field.types[0] == gguf.GGUFValueType.ARRAY
        inner = field.types[-1] if array else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        full = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if full.ndim == 2:
            writer.add_tensor(tensor.name, gguf.quants.quantize(full, kind), raw_dtype=kind)
        else:
            writer.add_tensor(tensor.name, full.astype(np.float32))
    close(writer)


def close(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
