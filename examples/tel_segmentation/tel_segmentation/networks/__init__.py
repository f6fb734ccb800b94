"""The networks: each computes, from images, the feature map that is classified and embedded.

``tiny`` is built from scratch; ``deeplab`` (DeepLabV3+), ``deeplab_v2``, ``hrnet`` and ``tree_fcn``
(the learnable tree filter) have a backbone from timm, see ``backbones``. All have ``backbone``, the
``channels`` of their features, and ``head(num_classes)``, the module that maps the features to
logits; ``segmenter.Segmenter`` adds the rest.
"""
