"""Images: the strict decoder, pixel operations, preparation for a model, augmentation."""
