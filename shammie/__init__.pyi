from models.equal_info.codec import Codec as Codec
from models.parameterization.exponents import exponents as exponents
from models.parameterization.parameterized import Parameterized as Parameterized

__version__: str
