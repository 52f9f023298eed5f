"""Write fashion_mnist.ipynb and its Chinese twin: the same code, the text in two languages.

python examples/make_notebooks.py            write both, without outputs
python examples/make_notebooks.py --execute  run them too, with their outputs and pictures
"""

from __future__ import annotations

import re
import sys
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
LOG_LINES = re.compile(r"^(INFO:|WARNING:|Instructions for updating|Use `tf\.).*\n", re.MULTILINE)
FILES = {"en": FOLDER / "fashion_mnist.ipynb", "zh": FOLDER / "fashion_mnist.zh-CN.ipynb"}

# Each entry is a text in English and Chinese, or code. `language` is a variable of the first code cell.
CELLS: list[tuple[str, str] | str] = [
    (
        "# Basic classification: clothing\n\nThis notebook follows TensorFlow's Fashion-MNIST tutorial with Hangtag's "
        "Python API, and adds the experiments that the tutorial suggests. At the end, it publishes the model as a version "
        "that TensorFlow Serving can serve.\n\nInstall the requirements first: `pip install 'hangtag[export]'`.",
        "# 基本分类：对服装图像进行分类\n\n本笔记本使用 Hangtag 的 Python API 完成 TensorFlow 的 Fashion-MNIST 教程，"
        "并完成教程中建议的几个实验。最后，把模型发布为 TensorFlow Serving 可以加载的版本。\n\n"
        "请先安装依赖：`pip install 'hangtag[export]'`。",
    ),
    """%matplotlib inline
from pathlib import Path
from tempfile import mkdtemp

import keras
import numpy as np

from hangtag_export import evaluate, load_fashion_mnist, plots, publish, train

language = "LANGUAGE"  # of the names in the pictures: "en" or "zh"
epochs = 10
experiments = (5, 10, 15, 30)  # epochs, compared below""",
    (
        "## The data\n\nThe data set has 60,000 training images and 10,000 test images of 28 x 28 pixels, in ten classes. The "
        "pixels are integers from 0 to 255. The labels are integers from 0 to 9.",
        "## 数据\n\n数据集有 60,000 张训练图像和 10,000 张测试图像，大小为 28 x 28 像素，分为十个类别。像素值是 0 到 255 "
        "之间的整数，标签是 0 到 9 之间的整数。",
    ),
    """dataset = load_fashion_mnist()
print(dataset.train_images.shape, dataset.test_images.shape)
print(dataset.class_names)
print(dataset.train_labels[:10])""",
    (
        "The first training image; the colours show the pixel values:",
        "第一张训练图像，颜色表示像素值：",
    ),
    "plots.image(dataset, 0, language)",
    (
        "The first 25 training images with their class names. Check that images and names match.",
        "前 25 张训练图像及其类别名。请确认图像与类别名相符。",
    ),
    "plots.training_images(dataset, language)",
    (
        "## Build and train the model\n\nThis is the tutorial's model. `Flatten` puts the pixels into one row. Then there "
        "is a hidden layer of 128 units, and an output unit for each class. `train` divides the pixels by 255, trains the "
        "model, and evaluates it on the test images. A tenth of the training images is the validation set. Its curve shows "
        "when the model starts to overfit.",
        "## 构建并训练模型\n\n采用教程中的模型：把像素展开成一行（`Flatten`），接一个有 128 个单元的隐藏层，再为每个类别"
        "设一个输出单元。`train` 会先把像素值除以 255，然后训练，并在测试图像上评估。这里留出十分之一的训练图像作为验证集："
        "从它的曲线可以看出模型从什么时候开始过拟合。",
    ),
    """training = train(dataset, "dense", epochs=epochs, validation_split=0.1, say=print)
training.model.summary()""",
    "plots.training_curves(training.history, language)",
    (
        "## Evaluate\n\nThe accuracy on the test images is a little lower than on the training images, because the "
        "model overfits. `calibration_error` compares the scores with the accuracy. If it is 0, then exactly 80 % of the "
        "predictions with a score of 0.8 are correct.",
        "## 评估\n\n测试集上的准确率略低于训练集，说明模型有些过拟合。`calibration_error`（校准误差）比较置信度与实际准确率："
        "为 0 时，置信度为 0.8 的预测中恰有 80% 是正确的。",
    ),
    """evaluation = training.evaluation
print(f"accuracy {evaluation.accuracy:.4f}, loss {evaluation.loss:.4f}")
print(f"expected calibration error {evaluation.calibration_error:.4f}")
print(evaluation.table())""",
    "plots.confusion_matrix(evaluation, language)",
    (
        "## Predictions\n\nThe ten scores of the first test image, and the class with the highest score:",
        "## 预测\n\n第一张测试图像的十个分数，以及分数最高的类别：",
    ),
    """print(evaluation.probabilities[0].round(3))
print(dataset.class_names[np.argmax(evaluation.probabilities[0])], "is", dataset.class_names[dataset.test_labels[0]])
plots.prediction(dataset, evaluation, 0, language)""",
    (
        "Another image, and then fifteen images: all classes appear, and some predictions are wrong.",
        "再看另一张图像，然后是十五张图像：涵盖所有类别，其中一些预测是错误的。",
    ),
    "plots.prediction(dataset, evaluation, 12, language)",
    "plots.predictions(dataset, evaluation, language)",
    (
        "A model takes a batch of images. For a single image, add a first dimension:",
        "模型的输入是一个批次的图像。只有一张图像时，需要在最前面增加一维：",
    ),
    """image = dataset.test_images[1:2] / np.float32(255)
print(image.shape)
training.served.predict(image, verbose=0).round(3)""",
    (
        "## What if the pixels are not scaled?\n\nThis is the same model with pixels from 0 to 255: its first layer multiplies "
        "them by 255 again. Loss and accuracy fluctuate, and the result is worse, because a learning rate that suits values "
        "from 0 to 1 is much too large here.",
        "## 如果不缩放像素值会怎样？\n\n这里使用同样的模型，但像素值为 0 到 255（第一层重新乘以 255）。损失和准确率上下波动，"
        "最终结果也更差，因为适合 0 到 1 的学习率在这里太大。",
    ),
    """unscaled = keras.Sequential(
    [
        keras.Input((28, 28)),
        keras.layers.Rescaling(255),
        keras.layers.Flatten(),
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dense(10),
    ]
)
without_scaling = train(dataset, model=unscaled, epochs=3, validation_split=0.1)
print(f"accuracy {without_scaling.evaluation.accuracy:.4f}")
plots.training_curves({"0..1": training.history, "0..255": without_scaling.history}, language)""",
    (
        "## What if there is no Flatten?\n\nA dense layer works only on the last dimension, so it would classify each row "
        "of the image separately. The output has 28 x 10 numbers instead of 10, which does not match one label per image.",
        "## 如果没有 Flatten 层会怎样？\n\n全连接层只作用于最后一维，因此会对图像的每一行单独分类。输出是 28 x 10 个数，"
        "而不是 10 个，与每张图像一个标签不匹配。",
    ),
    """layers = keras.layers
no_flatten = keras.Sequential([keras.Input((28, 28)), layers.Dense(128, activation="relu"), layers.Dense(10)])
no_flatten.output_shape""",
    (
        "## How many epochs?\n\nThe loss on the training images keeps falling. The loss on the validation images rises again "
        "after some epochs.",
        "## 训练多少轮合适？\n\n训练集上的损失持续下降，而验证集上的损失在若干轮之后又开始上升。",
    ),
    """runs = {}
for count in experiments:
    run = train(dataset, epochs=count, validation_split=0.1)
    runs[str(count)] = run.history
    print(f"{count} epochs: test accuracy {run.evaluation.accuracy:.4f}")
plots.training_curves(runs, language)""",
    (
        "## Stop early with a callback\n\nA custom Keras callback can stop the training when the accuracy is high enough. "
        "The option `target_accuracy=0.88` does the same.",
        "## 用回调函数提前结束训练\n\n自定义的 Keras 回调函数可以在准确率足够高时停止训练。选项 `target_accuracy=0.88` "
        "的作用相同。",
    ),
    """class EndWhenAccurate(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if logs["accuracy"] >= 0.88:
            print(f"accuracy {logs['accuracy']:.4f} after epoch {epoch + 1}: training ends")
            self.model.stop_training = True


early = train(dataset, epochs=epochs, callbacks=[EndWhenAccurate()])
len(early.history["loss"])""",
    (
        "## Publish the model\n\n`publish` writes the model as the next version in a base path. It adds signatures for pixels, "
        "image files and class names. `hangtag serve` or TensorFlow Serving can serve this folder.",
        "## 发布模型\n\n`publish` 把模型写成模型目录（base path）中的下一个版本，并加上像素、图像文件和类别名的签名。之后可以用 "
        "`hangtag serve` 或 TensorFlow Serving 提供服务。",
    ),
    """base_path = Path(mkdtemp()) / "fashion"
published = publish(training.served, dataset.class_names, base_path, pixels="0..1")
print(published.version, sorted(path.name for path in published.folder.iterdir()))
evaluate(base_path, dataset.test_images, dataset.test_labels).accuracy""",
]


def notebook(language: str) -> Any:
    """The notebook in one language, without outputs."""
    import nbformat

    cells = []
    for number, cell in enumerate(CELLS):
        if isinstance(cell, tuple):
            made = nbformat.v4.new_markdown_cell(cell[language == "zh"])
        else:
            made = nbformat.v4.new_code_cell(cell.replace("LANGUAGE", language))
        made["id"] = f"cell-{number}"  # else a random one, and a new file each time
        cells.append(made)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=kernel)


def execute(made: Any) -> Any:
    """Run all cells of a notebook; returns it with its outputs."""
    from nbclient import NotebookClient
    from traitlets.config import Config

    # Over sockets in the file system: a port might be taken by another program before the kernel listens.
    config = Config({"KernelManager": {"transport": "ipc"}})
    options = {"kernel_name": "python3", "record_timing": False, "config": config}
    client = NotebookClient(made, timeout=3600, startup_timeout=600, **options)
    return tidied(client.execute())


def tidied(made: Any) -> Any:
    """A notebook without TensorFlow's log lines, which name the machine's folders, and with smaller pictures."""
    for cell in made.cells:
        cell.metadata.pop("execution", None)
        outputs: list[Any] = []
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = LOG_LINES.sub("", output.text)
                if output.name == "stderr" or not output.text:
                    continue
                if outputs and outputs[-1].output_type == "stream":
                    outputs[-1].text += output.text
                    continue
            elif "image/png" in output.get("data", {}):
                output.data["image/png"] = with_few_colours(output.data["image/png"])
            outputs.append(output)
        if "outputs" in cell:
            cell.outputs = outputs
    return made


def with_few_colours(picture: str) -> str:
    """A PNG in Base64 with at most 256 colours: a third of the size."""
    from PIL import Image

    small = BytesIO()
    Image.open(BytesIO(b64decode(picture))).convert("RGB").quantize(256).save(small, "PNG", optimize=True)
    return b64encode(small.getvalue()).decode()


def main() -> None:
    import nbformat

    for language, file in FILES.items():
        made = notebook(language)
        nbformat.write(execute(made) if "--execute" in sys.argv else made, file)


if __name__ == "__main__":
    main()
