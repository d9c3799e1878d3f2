# Who will like what: chapter 8.
# %%
from foveal.collab.all import *
# %%
path = untar_data(URLs.SAMPLE_ML)
# %%
ratings = pd.read_csv(path/'u.data', delimiter='\t', header=None,
                      names=['user','movie','rating','timestamp'])
ratings.head()
# Out: user +movie +rating +timestamp
# shows: text/html
# %%
last_skywalker = np.array([0.98,0.9,-0.9])
user1 = np.array([0.9,0.8,-0.6])
(user1*last_skywalker).sum()
# Out: 2\.142
# %%
movies = pd.read_csv(path/'u.item',  delimiter='|', encoding='latin-1',
                     usecols=(0,1), names=('movie','title'), header=None)
movies.head()
# Out: movie +title
# %%
ratings = ratings.merge(movies)
ratings.head()
# Out: user +movie +rating +timestamp +title
# %%
dls = CollabDataLoaders.from_df(ratings, item_name='title', bs=64)
dls.show_batch()
# shows: text/html
# %%
dls.classes
# Out: ^\{'user': \(#241\) \['#na#',1,2,.*\],\s+'title': \(#\d+\) \['#na#','
# %%
n_users  = len(dls.classes['user'])
n_movies = len(dls.classes['title'])
n_factors = 5

user_factors = torch.randn(n_users, n_factors)
movie_factors = torch.randn(n_movies, n_factors)
n_users, n_movies
# Out: ^\(241, 1\d\d\)$
# %%
one_hot_3 = one_hot(3, n_users).float()
# %%
user_factors.t() @ one_hot_3
# Out: ^tensor\(
# %%
torch.allclose(user_factors.t() @ one_hot_3, user_factors[3])
# Out: True
# %%
class DotProduct(Module):
    def __init__(self, n_users, n_movies, n_factors):
        self.user_factors = Embedding(n_users, n_factors)
        self.movie_factors = Embedding(n_movies, n_factors)
        
    def forward(self, x):
        users = self.user_factors(x[:,0])
        movies = self.movie_factors(x[:,1])
        return (users * movies).sum(dim=1)
# %%
x,y = dls.one_batch()
x.shape
# Out: ^torch.Size\(\[64, 2\]\)$
# %%
x.dtype, y.shape, type(x).__name__, type(y).__name__
# Out: ^\(torch.int64, torch.Size\(\[64, 1\]\), 'Tensor', 'Tensor'\)$
# %%
model = DotProduct(n_users, n_movies, 50)
learn = Learner(dls, model, loss_func=MSELossFlat())
# %%
learn.fit_one_cycle(5, 5e-3)
# %%
MSELossFlat(), dls.loss_func
# Out: ^\(FlattenedLoss of MSELoss\(\), FlattenedLoss of MSELoss\(\)\)$
# %%
class DotProduct(Module):
    def __init__(self, n_users, n_movies, n_factors, y_range=(0,5.5)):
        self.user_factors = Embedding(n_users, n_factors)
        self.movie_factors = Embedding(n_movies, n_factors)
        self.y_range = y_range
        
    def forward(self, x):
        users = self.user_factors(x[:,0])
        movies = self.movie_factors(x[:,1])
        return sigmoid_range((users * movies).sum(dim=1), *self.y_range)
# %%
model = DotProduct(n_users, n_movies, 50)
learn = Learner(dls, model, loss_func=MSELossFlat())
learn.fit_one_cycle(5, 5e-3)
# %%
class DotProductBias(Module):
    def __init__(self, n_users, n_movies, n_factors, y_range=(0,5.5)):
        self.user_factors = Embedding(n_users, n_factors)
        self.user_bias = Embedding(n_users, 1)
        self.movie_factors = Embedding(n_movies, n_factors)
        self.movie_bias = Embedding(n_movies, 1)
        self.y_range = y_range
        
    def forward(self, x):
        users = self.user_factors(x[:,0])
        movies = self.movie_factors(x[:,1])
        res = (users * movies).sum(dim=1, keepdim=True)
        res += self.user_bias(x[:,0]) + self.movie_bias(x[:,1])
        return sigmoid_range(res, *self.y_range)
# %%
model = DotProductBias(n_users, n_movies, 50)
learn = Learner(dls, model, loss_func=MSELossFlat())
learn.fit_one_cycle(5, 5e-3)
# %%
model = DotProductBias(n_users, n_movies, 50)
learn = Learner(dls, model, loss_func=MSELossFlat())
learn.fit_one_cycle(5, 5e-3, wd=0.1)
# %%
mean = float(dls.train.dataset.targets.mean())
learn.validate()[0] < float(((dls.valid.dataset.targets - mean)**2).mean())
# Out: True
# %%
learn.validate()
# Out: ^\(#\d\) \[\d\.\d+
# %%
preds,targs = learn.get_preds()
preds.shape == targs.shape == (dls.valid.n, 1)
# Out: True
# %%
learn.recorder.plot_loss()
# shows: image/png
# %%
learn.lr_find()
# Out: ^SuggestedLRs\(valley=\S+\)$
# shows: image/png
# %%
x = np.linspace(-2,2,100)
a_s = [1,2,5,10,50] 
ys = [a * x**2 for a in a_s]
_,ax = plt.subplots(figsize=(8,6))
for a,y in zip(a_s,ys): ax.plot(x,y, label=f'a={a}')
ax.set_ylim([0,5])
ax.legend();
# shows: image/png
# %%
class T(Module):
    def __init__(self): self.a = torch.ones(3)

L(T().parameters())
# Out: ^\(#0\) \[\]$
# %%
class T(Module):
    def __init__(self): self.a = nn.Parameter(torch.ones(3))

L(T().parameters())
# Out: ^\(#1\) \[Parameter containing:\ntensor\(\[1., 1., 1.\], requires_grad=True\)\]$
# %%
class T(Module):
    def __init__(self): self.a = nn.Linear(1, 3, bias=False)

t = T()
type(t.a.weight)
# Out: Parameter
# %%
e = Embedding(1000, 50)
type(e.weight).__name__, e.weight.shape, abs(e.weight.std().item() - 0.0088) < 2e-4, e.weight.abs().max().item() <= 0.02
# Out: ^\('Parameter', torch.Size\(\[1000, 50\]\), True, True\)$
# %%
def create_params(size):
    return nn.Parameter(torch.zeros(*size).normal_(0, 0.01))

class DotProductBias(Module):
    def __init__(self, n_users, n_movies, n_factors, y_range=(0,5.5)):
        self.user_factors = create_params([n_users, n_factors])
        self.user_bias = create_params([n_users])
        self.movie_factors = create_params([n_movies, n_factors])
        self.movie_bias = create_params([n_movies])
        self.y_range = y_range
        
    def forward(self, x):
        users = self.user_factors[x[:,0]]
        movies = self.movie_factors[x[:,1]]
        res = (users*movies).sum(dim=1)
        res += self.user_bias[x[:,0]] + self.movie_bias[x[:,1]]
        return sigmoid_range(res, *self.y_range)

model = DotProductBias(n_users, n_movies, 50)
learn = Learner(dls, model, loss_func=MSELossFlat())
learn.fit_one_cycle(5, 5e-3, wd=0.1)
# %%
movie_bias = learn.model.movie_bias.squeeze()
idxs = movie_bias.argsort()[:5]
[dls.classes['title'][i] for i in idxs]
# Out: ^\['.*, The \(\d{4}\)',
# %%
idxs = movie_bias.argsort(descending=True)[:5]
[dls.classes['title'][i] for i in idxs]
# Out: ^\['.*, The \(\d{4}\)',
# %%
learn = collab_learner(dls, n_factors=50, y_range=(0, 5.5))
learn.fit_one_cycle(5, 5e-3, wd=0.1)
# %%
learn.model
# Out: ^EmbeddingDotBias\(\n  \(u_weight\): Embedding\(241, 50\)\n  \(i_weight\): Embedding\(\d+, 50\)\n  \(u_bias\): Embedding\(241, 1\)\n  \(i_bias\): Embedding\(\d+, 1\)\n\)$
# %%
movie_bias = learn.model.i_bias.weight.squeeze()
idxs = movie_bias.argsort(descending=True)[:5]
[dls.classes['title'][i] for i in idxs]
# Out: ^\['.*, The \(\d{4}\)',
# %%
g = ratings.groupby('title')['rating'].count()
top_movies = g.sort_values(ascending=False).index.values[:10]
learn.model.bias(top_movies, is_item=True).shape, learn.model.weight(top_movies, is_item=True).shape
# Out: ^\(torch.Size\(\[10\]\), torch.Size\(\[10, 50\]\)\)$
# %%
at = list(dls.classes['title']).index(top_movies[0])
torch.equal(learn.model.bias(top_movies)[0], movie_bias[at]), dls.classes['title'][0], dls.classes['user'][0]
# Out: ^\(True, '#na#', '#na#'\)$
# %%
movie_factors = learn.model.i_weight.weight
idx = at
distances = nn.CosineSimilarity(dim=1)(movie_factors, movie_factors[idx][None])
idx = distances.argsort(descending=True)[1]
dls.classes['title'][idx]
# Out: ^'.*, The \(\d{4}\)'$
# %%
learn.show_results()
# shows: text/html
# %%
learn = collab_learner(dls, use_nn=True, y_range=(0, 5.5), layers=[100,50])
learn.fit_one_cycle(1, 5e-3, wd=0.1)
# %%
learn = collab_learner(dls, n_factors=10, y_range=(0, 5.5), metrics=rmse)
learn.fit(1)
learn.fine_tune(1)
# %%
learn.export('ratings.safetensors')
torch.allclose(tensor(load_learner('ratings.safetensors').predict(1, top_movies[0])[0]), tensor(learn.predict(1, top_movies[0])[0]))
# Out: True
# %%
CollabDataLoaders.from_df(ratings.drop(columns='title'), bs=32).one_batch()[0].shape
# Out: ^torch.Size\(\[32, 2\]\)$
