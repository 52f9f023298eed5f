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
        "Python API, and adds the experiments that the tutorial suggests. At the end the model is published as a version "
        "that TensorFlow Serving serves.\n\nIt needs `pip install 'hangtag[export]'`.",
        "# 基本分类：对服装图像进行分类\n\n本笔记本使用 Hangtag 的 Python API 完成 TensorFlow 的 Fashion-MNIST 教程，"
        "并动手做教程中建议的几个实验。最后，模型会发布为一个可由 TensorFlow Serving 加载的版本。\n\n"
        "需要先安装：`pip install 'hangtag[export]'`。",
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
        "## The data\n\n60,000 training images and 10,000 test images of 28 x 28 pixels, each of one of ten classes. Pixels "
        "are whole numbers from 0 to 255; labels are whole numbers from 0 to 9.",
        "## 数据\n\n共有 60,000 张训练图像和 10,000 张测试图像，大小为 28 x 28 像素，分属十个类别。像素值是 0 到 255 "
        "之间的整数，标签是 0 到 9 之间的整数。",
    ),
    """dataset = load_fashion_mnist()
print(dataset.train_images.shape, dataset.test_images.shape)
print(dataset.class_names)
print(dataset.train_labels[:10])""",
    (
        "The first training image, with its pixel values as colours:",
        "第一张训练图像，颜色表示像素值：",
    ),
    "plots.image(dataset, 0, language)",
    (
        "The first 25 training images with their class names. Check that images and names match.",
        "前 25 张训练图像及其类别名称。请确认图像与名称相符。",
    ),
    "plots.training_images(dataset, language)",
    (
        "## Build and train the model\n\nThe tutorial's model: the pixels in one row (`Flatten`), a hidden layer of 128 "
        "units, and one unit for each class. `train` divides the pixels by 255, trains, and evaluates on the test images. "
        "A tenth of the training images is held out: the curve of these validation images shows when the model starts to "
        "memorise instead of learning.",
        "## 构建并训练模型\n\n采用教程中的模型：把像素展开成一行（`Flatten`），接一个有 128 个单元的隐藏层，再为每个类别"
        "设一个输出单元。`train` 会先把像素值除以 255，然后训练，并在测试图像上评估。这里留出十分之一的训练图像作为验证集："
        "验证曲线可以看出模型从什么时候开始死记硬背，而不是学习规律。",
    ),
    """training = train(dataset, "dense", epochs=epochs, validation_split=0.1, say=print)
training.model.summary()""",
    "plots.training_curves(training.history, language)",
    (
        "## Evaluate\n\nAccuracy on the test images is a little lower than on the training images: the model is "
        "overfitted. `calibration_error` compares scores with accuracy: 0 means that of the images with a score of 0.8, "
        "80 % are right.",
        "## 评估\n\n测试集上的准确率略低于训练集，说明模型有些过拟合。`calibration_error`（校准误差）比较得分与实际准确率："
        "为 0 时，得分 0.8 的图像中恰有 80% 预测正确。",
    ),
    """evaluation = training.evaluation
print(f"accuracy {evaluation.accuracy:.4f}, loss {evaluation.loss:.4f}")
print(f"expected calibration error {evaluation.calibration_error:.4f}")
print(evaluation.table())""",
    "plots.confusion_matrix(evaluation, language)",
    (
        "## Predictions\n\nThe ten scores of the first test image, and the class with the highest one:",
        "## 预测\n\n第一张测试图像的十个得分，以及得分最高的类别：",
    ),
    """print(evaluation.probabilities[0].round(3))
print(dataset.class_names[np.argmax(evaluation.probabilities[0])], "is", dataset.class_names[dataset.test_labels[0]])
plots.prediction(dataset, evaluation, 0, language)""",
    (
        "Another image, and fifteen: images of all classes, some of them predicted wrongly.",
        "再看另一张图像，然后是十五张：涵盖所有类别，其中包括预测错误的图像。",
    ),
    "plots.prediction(dataset, evaluation, 12, language)",
    "plots.predictions(dataset, evaluation, language)",
    (
        "A model predicts batches. For a single image, add a dimension in front:",
        "模型按批次预测。只预测一张图像时，需要在最前面增加一维：",
    ),
    """image = dataset.test_images[1:2] / np.float32(255)
print(image.shape)
training.served.predict(image, verbose=0).round(3)""",
    (
        "## What if the pixels are not scaled?\n\nThe same model on pixels from 0 to 255 (the first layer multiplies by 255 "
        "again). Loss and accuracy jump up and down and end worse: the steps that suit values from 0 to 1 are far too "
        "large.",
        "## 如果不缩放像素值会怎样？\n\n用同样的模型，但输入是 0 到 255 的像素值（第一层重新乘以 255）。损失和准确率上下波动，"
        "最终结果也更差：适合 0 到 1 之间数值的步长，在这里就太大了。",
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
        "## What if there is no Flatten?\n\nA dense layer works on the last dimension only, so each row of the image would "
        "be classified by itself: the output has 28 x 10 numbers instead of 10, and does not fit one label an image.",
        "## 如果没有 Flatten 层会怎样？\n\n全连接层只作用于最后一维，因此图像的每一行会被单独分类：输出是 28 x 10 个数，"
        "而不是 10 个，无法与每张图像的一个标签对应。",
    ),
    """layers = keras.layers
no_flatten = keras.Sequential([keras.Input((28, 28)), layers.Dense(128, activation="relu"), layers.Dense(10)])
no_flatten.output_shape""",
    (
        "## How many epochs?\n\nThe loss on the training images falls further and further. The loss on the validation images "
        "does not: after some epochs it rises again.",
        "## 训练多少轮合适？\n\n训练集上的损失会一直下降，而验证集上的损失不会：若干轮之后它又开始上升。",
    ),
    """runs = {}
for count in experiments:
    run = train(dataset, epochs=count, validation_split=0.1)
    runs[str(count)] = run.history
    print(f"{count} epochs: test accuracy {run.evaluation.accuracy:.4f}")
plots.training_curves(runs, language)""",
    (
        "## End early with a callback\n\nA Keras callback of your own: it ends the training when the accuracy is high enough. "
        "(`target_accuracy=0.88` does the same.)",
        "## 用回调函数提前结束训练\n\n自己编写一个 Keras 回调函数：准确率足够高时就停止训练。（选项 `target_accuracy=0.88` "
        "的作用相同。）",
    ),
    """class EndWhenAccurate(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if logs["accuracy"] >= 0.88:
            print(f"accuracy {logs['accuracy']:.4f} after epoch {epoch + 1}: training ends")
            self.model.stop_training = True


early = train(dataset, epochs=epochs, callbacks=[EndWhenAccurate()])
len(early.history["loss"])""",
    (
        "## Publish the model\n\n`publish` writes the model with signatures for pixels, image files and class names as the "
        "next version of a base path. `hangtag serve` or TensorFlow Serving serves that folder.",
        "## 发布模型\n\n`publish` 会为模型加上像素、图像文件和类别名称的签名，并作为基础路径下的下一个版本写入。之后可以用 "
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
