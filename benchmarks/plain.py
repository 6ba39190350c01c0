"""What a user would run instead, for benchmarks/speed.py: the ways of the documents with today's
Keras, scikit-image and NumPy, and a U-Net in PyTorch.

python -m benchmarks.plain data RAW OUTPUT
python -m benchmarks.plain submission PROBABILITIES CSV
python -m benchmarks.plain noise
"""

import sys
from pathlib import Path


def data(raw, output):
    """Kaggle's nerve tree to arrays of 64x80, image after image."""
    import numpy as np
    from skimage.io import imread
    from skimage.transform import resize

    paths = [p for p in sorted(Path(raw, "train").glob("*.tif")) if "_mask" not in p.name]
    images, masks = (np.ndarray((len(paths), 64, 80), np.uint8) for _ in range(2))
    for row, path in enumerate(paths):
        mask = path.with_name(path.stem + "_mask.tif")
        images[row] = resize(imread(path), (64, 80), preserve_range=True)
        masks[row] = resize(imread(mask), (64, 80), preserve_range=True)
    np.save(Path(output, "imgs_train.npy"), images)
    np.save(Path(output, "imgs_mask_train.npy"), masks)


def submission(probabilities, csv):
    """Run-length codes of all masks at 420x580, pixel after pixel."""
    import numpy as np
    from skimage.transform import resize

    with open(csv, "w", encoding="utf-8") as file:
        file.write("img,pixels\n")
        for number, probability in enumerate(np.load(probabilities), 1):
            mask = resize(probability[..., 0], (420, 580), preserve_range=True) > 0.5
            runs, before = [], -2
            for place in np.flatnonzero(mask.T.ravel()):
                if place != before + 1:
                    runs += [place + 1, 0]
                runs[-1] += 1
                before = place
            file.write(f"{number},{' '.join(map(str, runs))}\n")


def noise():
    """The noise document's script up to its training: one image, 100 steps."""
    import cv2
    import keras
    import numpy as np

    rng = np.random.default_rng(1)
    mask = np.zeros((160, 160), np.uint8)
    cv2.circle(mask, (80, 80), 25, 1, cv2.FILLED)
    image = np.where(mask, rng.integers(0, 256, mask.shape), rng.integers(0, 100, mask.shape))
    images = ((image - image.mean()) / image.std()).astype(np.float32)[None, ..., None]
    model = unet("noise")
    model.compile(keras.optimizers.SGD(1e-3), LOSSES["noise"])
    model.fit(images.repeat(100, 0), mask[None, ..., None].repeat(100, 0), batch_size=1)


def unet(job, dtype="float32"):
    """The job's document network, layer by layer; as many parameters as model.py's."""
    import keras
    from keras import layers

    size, channels, filters, bottleneck = SIZES[job]
    top = [16, 32, 64, 128, 256] if job == "noise" else filters
    normalize, start = job == "cadastre", "he_normal" if job == "noise" else "glorot_uniform"

    def activated(x, count, width=3):
        return layers.Conv2D(
            count, width, padding="same", activation="relu", kernel_initializer=start
        )(x)

    def normalized(x):
        return layers.BatchNormalization(momentum=0.9)(x) if normalize else x

    def convolution(x, count):
        return normalized(activated(x, count))

    keras.config.set_dtype_policy(dtype)
    x = inputs = keras.Input((*size, channels))
    skips = []
    for level, count in enumerate(filters):
        x = skip = activated(convolution(x, count), count)
        x = normalized(x)
        if normalize and level == 3:
            x = skip = layers.Dropout(0.2)(x)
        skips.append(skip)
        x = layers.MaxPooling2D()(x)
    if bottleneck:
        x = convolution(convolution(x, bottleneck), bottleneck)
    if normalize:
        x = layers.Dropout(0.5)(x)
    for level in reversed(range(len(filters))):
        interpolation = "bilinear" if job == "car" else "nearest"
        x = layers.UpSampling2D(interpolation=interpolation)(x)
        if normalize:
            x = activated(x, top[level], 2)
        x = layers.Concatenate()([x, skips[level]])
        for _ in range(1 if job == "car" and level == 0 else 2):
            x = convolution(x, top[level])
    if normalize:
        x = layers.Dropout(0.2)(convolution(x, 2))
    width = 3 if job == "car" else 1
    x = layers.Conv2D(1, width, padding="same", activation="sigmoid", dtype="float32")(x)
    keras.config.set_dtype_policy("float32")
    return keras.Model(inputs, x)


SIZES = {  # height and width, channels, filters of each level, of the bottleneck
    "noise": ((160, 160), 1, (32, 64, 128, 256, 512), 512),
    "nerve": ((64, 80), 1, (32, 64, 128, 256), 512),
    "car": ((256, 256), 3, (32, 64, 128, 256), 0),
    "cadastre": ((256, 256), 3, (16, 32, 64, 128), 256),
    "membrane": ((572, 572), 1, (64, 128, 256, 512), 1024),  # in PyTorch only
}


def dice_loss(y_true, y_pred):
    """1 - Dice over the batch, smoothed by 1."""
    from keras import ops

    y_true = ops.cast(y_true, "float32")
    total = ops.sum(y_true) + ops.sum(y_pred)
    return 1 - (2 * ops.sum(y_true * y_pred) + 1) / (total + 1)


LOSSES = {"noise": dice_loss, "nerve": dice_loss}
LOSSES |= {"car": "binary_crossentropy", "cadastre": "binary_crossentropy"}


def torch_unet(job):
    """The same network as a PyTorch module, channels last: float32 (B, C, H, W) to logits."""
    import torch
    from torch import nn

    _, channels, filters, bottleneck = SIZES[job]
    top = (16, 32, 64, 128, 256) if job == "noise" else filters
    normalize, is_paper = job == "cadastre", job == "membrane"

    def convolution(before, count, width=3):
        padding = "valid" if is_paper else "same"
        parts = [nn.Conv2d(before, count, width, padding=padding), nn.ReLU(inplace=True)]
        if normalize and width == 3:
            parts.append(nn.BatchNorm2d(count, momentum=0.1))
        return parts

    def widening(before, count):
        if is_paper:
            return [nn.ConvTranspose2d(before, count, 2, 2)], count
        mode = "bilinear" if job == "car" else "nearest"
        if normalize:
            return [nn.Upsample(scale_factor=2), *convolution(before, count, 2)], count
        return [nn.Upsample(scale_factor=2, mode=mode)], before

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.after = nn.ModuleList(), nn.ModuleList()
            self.widen, self.up = nn.ModuleList(), nn.ModuleList()
            before = channels
            for level, count in enumerate(filters):
                parts = convolution(before, count) + convolution(count, count)
                after = [parts.pop()] if normalize else []
                if level == 3 and (normalize or is_paper):
                    after.append(nn.Dropout(0.2 if normalize else 0.5))
                self.down.append(nn.Sequential(*parts))
                self.after.append(nn.Sequential(*after))
                before = count
            parts = []
            if bottleneck:
                parts = convolution(before, bottleneck) + convolution(bottleneck, bottleneck)
                before = bottleneck
            parts += [nn.Dropout(0.5)] if normalize or is_paper else []
            self.bottom = nn.Sequential(*parts)
            for level in reversed(range(len(filters))):
                parts, before = widening(before, top[level])
                self.widen.append(nn.Sequential(*parts))
                parts = convolution(before + filters[level], top[level])
                if not (job == "car" and level == 0):
                    parts += convolution(top[level], top[level])
                self.up.append(nn.Sequential(*parts))
                before = top[level]
            parts = [*convolution(before, 2), nn.Dropout(0.2)] if normalize else []
            width, classes = 3 if job == "car" else 1, 2 if is_paper else 1
            last = nn.Conv2d(2 if normalize else before, classes, width, padding="same")
            self.head = nn.Sequential(*parts, last)

        def forward(self, x):
            skips = []
            for level, (part, after) in enumerate(zip(self.down, self.after)):
                activated = part(x)
                x = after(activated)
                skips.append(x if level == 3 else activated)  # before normalization but for one
                x = nn.functional.max_pool2d(x, 2)
            x = self.bottom(x)
            for widen, part in zip(self.widen, self.up):
                x, skip = widen(x), skips.pop()
                border = (skip.shape[-1] - x.shape[-1]) // 2
                skip = skip[..., border : border + x.shape[-2], border : border + x.shape[-1]]
                x = part(torch.cat([x, skip], 1))
            return self.head(x)

    return UNet().to(memory_format=torch.channels_last)


def torch_step(job, forward, optimizer, images, masks, precision):
    """One step of a PyTorch training with dice_loss or cross-entropy of logits; its loss."""
    import torch
    from torch.nn import functional

    optimizer.zero_grad()
    with torch.autocast(images.device.type, torch.bfloat16, enabled="bfloat16" in precision):
        logits = forward(images)
    logits = logits.float()
    if job == "membrane":
        loss = functional.cross_entropy(logits, masks[:, 0].long())
    elif job in ("car", "cadastre"):
        loss = functional.binary_cross_entropy_with_logits(logits, masks)
    else:
        predicted = torch.sigmoid(logits)
        loss = 1 - (2 * (predicted * masks).sum() + 1) / (predicted.sum() + masks.sum() + 1)
    loss.backward()
    optimizer.step()
    return loss


if __name__ == "__main__":
    {"data": data, "submission": submission, "noise": noise}[sys.argv[1]](*sys.argv[2:])
