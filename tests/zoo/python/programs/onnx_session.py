"""onnxruntime: an inference session with its own threads gives the same in each clone, which opens its own sessions."""
# zoo: full

import numpy
import onnx
import onnxruntime
from harness import family

weights = numpy.random.default_rng(0).standard_normal((64, 64)).astype("float32")
node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
kind = onnx.TensorProto.FLOAT
ends = [onnx.helper.make_tensor_value_info(name, kind, [None, 64]) for name in "xy"]
graph = onnx.helper.make_graph([node], "product", ends[:1], ends[1:], [onnx.numpy_helper.from_array(weights, "w")])
opset = [onnx.helper.make_opsetid("", 17)]
model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


def opened() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


session, inputs = opened(), numpy.ones((256, 64), "float32")


def work(vmid: int) -> list[bool]:
    return [bool(numpy.allclose(one.run(None, {"x": inputs})[0], inputs @ weights, atol=1e-3)) for one in (session, opened())]


master, clones = family(work)
assert [master, *clones] == [[True, True]] * 4, (master, clones)
