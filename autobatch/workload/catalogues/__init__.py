"""Models that a library knows by name: ``hf:gpt2``, ``timm:resnet50``, ``torchvision:resnet50``.

Target --require--> values that go with it, a library that is there
       --hugging_face, images--> Entry: model, made from its configuration; random batches; loss

Nothing is downloaded: weights are random, which changes neither memory nor time.
"""
