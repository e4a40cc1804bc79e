from models import composition as composition
from models.equal_info.codec import Codec as Codec
from models.learned_optimizers.face import star as star
from models.learned_optimizers.face import velo as velo
from models.parameterization.exponents import exponents as exponents
from models.parameterization.parameterized import Parameterized as Parameterized

__version__: str
