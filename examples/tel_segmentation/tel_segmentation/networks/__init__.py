"""The networks: each turns images into the feature map that is classified and embedded.

``tiny``; ``deeplab`` (DeepLabV3+), ``deeplab_v2``, ``hrnet`` and ``tree_fcn`` (the learnable tree
filter) over ``backbones`` from timm. All have ``backbone``, the ``channels`` of their features, and
``head(num_classes)``, which makes logits of the features; ``segmenter.Segmenter`` does the rest.
"""
