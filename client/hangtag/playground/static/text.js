// The page in two languages: English stands in the code, Chinese here.

const CHINESE = {
  "Skip to the content": "跳到主要内容", "Playground": "演练场", "Views": "视图", "Try": "识别", "Evaluate": "评估", "Live": "监控",
  "Model": "模型", "Version": "版本", "Compare with": "对比版本", "Protocol": "协议", "Newest": "最新版本", "Nothing": "不对比",
  "Version {0}": "版本 {0}", "{0} (version {1})": "{0}（版本 {1}）", "{0} (not served)": "{0}（未提供服务）",
  "Connected to {0}": "已连接 {0}", "Connecting…": "正在连接…", "Reconnecting…": "正在重连…",
  "The playground was stopped. This page reconnects when it runs again.": "演练场已停止，重新启动后本页会自动恢复连接。",
  "The model server does not answer; this page keeps trying: {0}": "模型服务器没有响应，正在自动重试：{0}",
  "Drop an image here": "把图片拖到这里",
  "or paste one, or choose a PNG or JPEG file of up to 20 MB": "也可以直接粘贴，或选择不超过 20 MB 的 PNG、JPEG 文件",
  "Choose images": "选择图片", "Take a photo": "拍照", "Draw": "手绘", "Clear": "清空", "Drawing area": "画板",
  "Draw with mouse or finger, or with arrow keys and space.": "用鼠标、手指绘制，或用方向键和空格键绘制。",
  "Your images": "你的图片", "Test images: {0}": "测试图片：{0}", "Test image {0}": "测试图片 {0}", "Show others": "换一批",
  "No test images on this machine. Fetch Fashion-MNIST with `hangtag data`, or start the playground with --images.":
    "本机没有测试图片。运行 hangtag data 获取 Fashion-MNIST，或在启动时用 --images 指定。",
  "Choose an image to see what the model makes of it.": "选择一张图片，查看模型的识别结果。",
  "What the model receives": "模型实际接收的图像", "Preparation": "预处理", "Automatic": "自动", "Resize only": "仅缩放",
  "Product photo": "商品照片", "{0}, trimmed and inverted": "{0}，已裁边并反色", "{0}, resized": "{0}，已缩放", "{0}, unchanged": "{0}，原样",
  "{0} confident": "置信度 {0}", "Version {0} answered in {1} ms over {2}": "版本 {0}，经 {2} 用时 {1} 毫秒",
  "True class: {0}": "真实类别：{0}", "The two versions disagree": "两个版本结果不同", "The two versions agree": "两个版本结果一致",
  "Images": "图片", "How many": "数量", "All {0}": "全部 {0} 张", "First {0}": "前 {0} 张", "A folder on this device…": "本机文件夹…",
  "Start": "开始评估", "Stop": "停止", "Progress": "进度",
  "Choose labelled images to see which classes the model confuses. A folder holds one folder for each class.":
    "选择带标签的图片，看模型容易混淆哪些类别。使用文件夹时，每个类别各占一个同名子文件夹。",
  "No folder in there has the name of a class of this model, such as {0}.": "所选文件夹中没有与模型类别同名的子文件夹，例如 {0}。",
  "Accuracy of {0}": "准确率：{0}", "Answered differently": "结果不同", "Differences": "差异",
  "Rows are true classes, columns are predictions.": "行为真实类别，列为预测类别。", "Rows: {0}. Columns: {1}.": "行：{0}；列：{1}。",
  "{0} predicted as {1}: {2}": "{0} 被识别为 {1}：{2} 张", "{0} became {1}: {2}": "{0} 变为 {1}：{2} 张",
  "Choose a number in the matrix to see its images.": "点击矩阵中的数字查看对应图片。", "and {0} more": "另有 {0} 张",
  "{0} classes are too many for a matrix.": "共 {0} 个类别，无法以矩阵显示。",
  "Predictions per second": "每秒预测请求数", "Latency in milliseconds": "延迟（毫秒）", "Versions": "模型版本", "Events": "事件",
  "Send test traffic": "发送测试流量", "Changes of versions appear here.": "版本变化会显示在这里。",
  "Version {0} is {1}": "版本 {0}：{1}", "Version {0} is no longer listed": "版本 {0} 已移除", "Version {0} answers": "版本 {0} 开始响应",
  "All versions": "全部版本", "Peak: {0}": "峰值：{0}", "Median": "中位数", "Median latency": "延迟中位数", "95th percentile": "95 分位", "Failed requests": "失败请求",
  "No metrics: start the model server with --monitoring_config_file, and give the playground its REST target too.":
    "没有监控指标：请用 --monitoring_config_file 启动模型服务器，并为演练场指定 REST 地址。",
  "available": "可用", "loading": "加载中", "start": "启动中", "unloading": "卸载中", "end": "已结束",
  TooLarge: "文件过大：", ServerUnavailable: "模型服务器没有响应：", DeadlineExceeded: "模型服务器响应超时：",
  ModelNotFound: "服务器上没有该模型或版本：", InvalidInput: "输入有误：",
};

export const locale = { language: "en", tag: "en" };
/** More Chinese, for the class names of the model. */
export const learn = (names) => Object.assign(CHINESE, names);

/** `text` in the chosen language, with {0}, {1}… filled in. */
export function t(text, ...values) {
  const chosen = (locale.language === "zh" && CHINESE[text]) || text;
  return values.reduce((filled, value, at) => filled.replaceAll(`{${at}}`, value), chosen);
}

/** An error of the server: its own sentence, in Chinese after what kind it is. */
export const explain = ({ error, kind }) => (locale.language === "zh" ? (CHINESE[kind] ?? "出错了：") : "") + error;
export const number = (value, digits = 0) =>
  value.toLocaleString(locale.tag, { minimumFractionDigits: digits, maximumFractionDigits: digits });
export const percent = (value) => `${number(value * 100, 1)}%`;

/** Choose a language, and write the texts that stand in index.html. */
export function speak(language) {
  Object.assign(locale, { language, tag: language === "zh" ? "zh-CN" : "en" });
  document.documentElement.lang = locale.tag;
  for (const item of document.querySelectorAll("[data-t]")) {
    item.dataset.t ||= item.textContent.replace(/\s+/g, " ");
    item.textContent = t(item.dataset.t);
  }
  for (const item of document.querySelectorAll("[data-label]")) item.ariaLabel = t(item.dataset.label);
}
