from models.equal_info.codec import Codec as Codec

__version__: str
